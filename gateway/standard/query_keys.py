"""Keys of the query models by level (PS3.4 tables C.6-1 to C.6-5), additional ones (C.3.4), Repository Query (C.6.4).

Study Root has the keys of the patient at its study level: Patient ID and Patient's Name are required there.
"""

from __future__ import annotations

from typing import NamedTuple

PATIENT, STUDY, SERIES, IMAGE = "PATIENT", "STUDY", "SERIES", "IMAGE"
LEVELS = (PATIENT, STUDY, SERIES, IMAGE)

UNIQUE, REQUIRED, OPTIONAL = "U", "R", "O"

REPOSITORY_QUERY = "1.2.840.10008.5.1.4.1.1.201.6"

# Abstract syntaxes of C-FIND and the levels of their models from the top (C.6.1.3, C.6.2.3, C.6.3, C.6.4.7).
FIND_MODELS: dict[str, tuple[str, ...]] = {
    "1.2.840.10008.5.1.4.1.2.1.1": LEVELS,  # Patient Root
    "1.2.840.10008.5.1.4.1.2.2.1": (STUDY, SERIES, IMAGE),  # Study Root
    "1.2.840.10008.5.1.4.1.2.3.1": (PATIENT, STUDY),  # Patient/Study Only, retired
    REPOSITORY_QUERY: (STUDY, SERIES, IMAGE),
}

UNIQUE_KEYS: dict[str, str] = {
    PATIENT: "PatientID",
    STUDY: "StudyInstanceUID",
    SERIES: "SeriesInstanceUID",
    IMAGE: "SOPInstanceUID",
}

# Required keys of Study Root that are the patient's (table C.6-5).
REQUIRED_OF_STUDY_ROOT = ("PatientName", "PatientID")

# Later than the data dictionary of pydicom 3.0: keyword, tag and VR of PS3.6.
UNLISTED: dict[str, tuple[int, str]] = {
    "PersonNamesToUseSequence": (0x00100011, "SQ"),
    "NameToUse": (0x00100012, "LT"),
    "NameToUseComment": (0x00100013, "UT"),
    "ThirdPersonPronounsSequence": (0x00100014, "SQ"),
    "PronounCodeSequence": (0x00100015, "SQ"),
    "PronounComment": (0x00100016, "UT"),
    "GenderIdentitySequence": (0x00100041, "SQ"),
    "SexParametersForClinicalUseCategoryComment": (0x00100042, "UT"),
    "SexParametersForClinicalUseCategorySequence": (0x00100043, "SQ"),
    "GenderIdentityCodeSequence": (0x00100044, "SQ"),
    "GenderIdentityComment": (0x00100045, "UT"),
    "SexParametersForClinicalUseCategoryCodeSequence": (0x00100046, "SQ"),
    "SexParametersForClinicalUseCategoryReference": (0x00100047, "UR"),
    "EffectiveStartDateTime": (0x0040A034, "DT"),
    "EffectiveStopDateTime": (0x0040A035, "DT"),
}


class Key(NamedTuple):
    """A row of a table of keys: keyword, type (U, R, O), and the rows of the item if it is a sequence."""

    keyword: str
    type: str = OPTIONAL
    items: tuple[Key, ...] = ()


def _optional(*keywords: str) -> tuple[Key, ...]:
    return tuple(Key(keyword) for keyword in keywords)


# Table C.6-2b, and C.6-2a which adds the equivalent codes.
BASIC_CODE = _optional(
    *("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning", "LongCodeValue", "URNCodeValue"),
    *("ContextIdentifier", "ContextUID", "MappingResource", "MappingResourceUID", "ContextGroupVersion"),
    *("ContextGroupExtensionFlag", "ContextGroupLocalVersion", "ContextGroupExtensionCreatorUID"),
)
CODE = (*BASIC_CODE, Key("EquivalentCodeSequence", items=BASIC_CODE))

_REFERENCE = _optional("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")
_PERIOD = _optional("EffectiveStartDateTime", "EffectiveStopDateTime")

# Table C.6-1.
PATIENT_KEYS: tuple[Key, ...] = (
    Key("PatientName", REQUIRED),
    Key("PatientID", UNIQUE),
    Key("IssuerOfPatientID"),
    Key("ReferencedPatientSequence", items=_REFERENCE),
    Key("PatientBirthDate"),
    Key("PatientBirthTime"),
    Key("PatientSex"),
    Key("OtherPatientIDsSequence"),
    Key("OtherPatientNames"),
    Key("EthnicGroup"),
    Key("PatientComments"),
    Key("NumberOfPatientRelatedStudies"),
    Key("NumberOfPatientRelatedSeries"),
    Key("NumberOfPatientRelatedInstances"),
)

# Table C.6-2; C.6-5 has the same, and those of the patient.
STUDY_KEYS: tuple[Key, ...] = (
    Key("StudyDate", REQUIRED),
    Key("StudyTime", REQUIRED),
    Key("AccessionNumber", REQUIRED),
    Key("StudyID", REQUIRED),
    Key("StudyInstanceUID", UNIQUE),
    Key("ModalitiesInStudy"),
    Key("SOPClassesInStudy"),
    Key("AnatomicRegionsInStudyCodeSequence", items=CODE),
    Key("ReferringPhysicianName"),
    Key("StudyDescription"),
    Key("ProcedureCodeSequence", items=CODE),
    Key("NameOfPhysiciansReadingStudy"),
    Key("AdmittingDiagnosesDescription"),
    Key("ReferencedStudySequence", items=_REFERENCE),
    Key("PatientAge"),
    Key("PatientSize"),
    Key("PatientWeight"),
    Key("Occupation"),
    Key("AdditionalPatientHistory"),
    Key("OtherStudyNumbers"),
    Key("NumberOfStudyRelatedSeries"),
    Key("NumberOfStudyRelatedInstances"),
    Key("StudyUpdateDateTime"),
    Key(
        "GenderIdentitySequence",
        items=(Key("GenderIdentityCodeSequence", items=CODE), *_PERIOD, Key("GenderIdentityComment")),
    ),
    Key(
        "SexParametersForClinicalUseCategorySequence",
        items=(
            Key("SexParametersForClinicalUseCategoryCodeSequence", items=CODE),
            *_PERIOD,
            *_optional(
                "SexParametersForClinicalUseCategoryComment",
                "SexParametersForClinicalUseCategoryReference",
            ),
        ),
    ),
    Key("PersonNamesToUseSequence", items=(Key("NameToUse"), *_PERIOD, Key("NameToUseComment"))),
    Key(
        "ThirdPersonPronounsSequence",
        items=(Key("PronounCodeSequence", items=CODE), *_PERIOD, Key("PronounComment")),
    ),
)

# Table C.6-3.
SERIES_KEYS: tuple[Key, ...] = (
    Key("Modality", REQUIRED),
    Key("SeriesNumber", REQUIRED),
    Key("SeriesInstanceUID", UNIQUE),
    Key("NumberOfSeriesRelatedInstances"),
)

# Table C.6-4. The references have the tags of the table; the text of C.6.1.1.5.1 names (0008,0016) and (0008,0018).
IMAGE_KEYS: tuple[Key, ...] = (
    Key("InstanceNumber", REQUIRED),
    Key("SOPInstanceUID", UNIQUE),
    Key("SOPClassUID"),
    Key("AvailableTransferSyntaxUID"),
    Key(
        "AlternateRepresentationSequence",
        items=(Key("SeriesInstanceUID"), *_REFERENCE, Key("PurposeOfReferenceCodeSequence", items=CODE)),
    ),
    Key("RelatedGeneralSOPClassUID"),
    Key("ConceptNameCodeSequence", items=CODE),
    Key("ContentTemplateSequence", items=_optional("TemplateIdentifier", "MappingResource")),
    Key("ContainerIdentifier"),
    Key("SpecimenDescriptionSequence", items=_optional("SpecimenIdentifier", "SpecimenUID")),
)

KEYS: dict[str, tuple[Key, ...]] = {
    PATIENT: PATIENT_KEYS,
    STUDY: STUDY_KEYS,
    SERIES: SERIES_KEYS,
    IMAGE: IMAGE_KEYS,
}

# "All other Attributes at ... Level" of these tables: the ones that the index holds besides. At the level IMAGE it
# holds what distinguishes documents; everything else of an instance is read from its header.
FURTHER_KEYS: dict[str, tuple[str, ...]] = {
    PATIENT: (
        *("TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence", "PatientBirthName", "PatientMotherBirthName"),
        *("PatientSpeciesDescription", "PatientSpeciesCodeSequence", "PatientBreedDescription"),
        *("PatientBreedCodeSequence", "ResponsiblePerson", "ResponsiblePersonRole", "ResponsibleOrganization"),
        *("QualityControlSubject", "PatientIdentityRemoved", "DeidentificationMethod"),
        *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName"),
        *("ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID"),
    ),
    STUDY: (
        *("IssuerOfAccessionNumberSequence", "PhysiciansOfRecord", "ConsultingPhysicianName", "AdmissionID"),
        *("IssuerOfAdmissionIDSequence", "RequestingService", "ReasonForPerformedProcedureCodeSequence"),
        *("AdmittingDiagnosesCodeSequence", "PatientSexNeutered", "MedicalAlerts", "Allergies", "SmokingStatus"),
        *("PregnancyStatus", "LastMenstrualDate", "PatientState", "ServiceEpisodeID", "ServiceEpisodeDescription"),
        *("ReasonForVisit", "ReasonForVisitCodeSequence", "ClinicalTrialTimePointID"),
        "ClinicalTrialTimePointDescription",
    ),
    SERIES: (
        *("SeriesDescription", "SeriesDescriptionCodeSequence", "SeriesDate", "SeriesTime", "BodyPartExamined"),
        *("Laterality", "ProtocolName", "PatientPosition", "PerformingPhysicianName", "OperatorsName"),
        *("Manufacturer", "ManufacturerModelName", "InstitutionName", "InstitutionAddress", "StationName"),
        *("InstitutionalDepartmentName", "DeviceSerialNumber", "SoftwareVersions", "FrameOfReferenceUID"),
        *("PositionReferenceIndicator", "SynchronizationFrameOfReferenceUID", "RequestAttributesSequence"),
        *("PerformedProcedureStepID", "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"),
        *("PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime", "PerformedProcedureStepDescription"),
        *("PerformedProtocolCodeSequence", "ReferencedPerformedProcedureStepSequence", "AnatomicRegionSequence"),
        *("CommentsOnThePerformedProcedureStep", "ContrastBolusAgent", "ClinicalTrialSeriesID"),
        *("ClinicalTrialSeriesDescription", "TreatmentSessionUID", "SeriesType", "Units", "CountsSource"),
    ),
    IMAGE: (
        *("Rows", "Columns", "NumberOfFrames", "CompletionFlag", "VerificationFlag", "PreliminaryFlag"),
        *("ContentLabel", "ContentDescription", "ContentCreatorName", "DocumentTitle"),
    ),
}

# Additional attributes (C.3.4): those that are counted or gathered, not stored in any object, by level.
COMPUTED: dict[str, tuple[str, ...]] = {
    PATIENT: ("NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances"),
    STUDY: (
        *("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "ModalitiesInStudy", "SOPClassesInStudy"),
        *("AnatomicRegionsInStudyCodeSequence", "StudyUpdateDateTime"),
    ),
    SERIES: ("NumberOfSeriesRelatedInstances",),
    IMAGE: ("AlternateRepresentationSequence", "AvailableTransferSyntaxUID"),
}

# What an Identifier may hold besides keys (C.4.1.1.3): it steers, or it is said of every match.
NO_KEYS: tuple[str, ...] = (
    *("SpecificCharacterSet", "QueryRetrieveLevel", "QueryRetrieveView", "TimezoneOffsetFromUTC"),
    *("RetrieveAETitle", "InstanceAvailability", "StorageMediaFileSetID", "StorageMediaFileSetUID"),
)

# Table C.6.4.2-1 and the required key of table C.6.4.1-1, of Repository Query alone.
RECORD_KEY, PRIOR_RECORD_KEY, MOST_RECORDS = "RecordKey", "PriorRecordKey", "MaximumNumberOfRecords"

# Tables C.6.4.1-1 and C.6.4.2-1: they describe a repository and are in no object; of them the box has the record key.
ADDITIONAL: frozenset[str] = frozenset(
    (
        *(RECORD_KEY, PRIOR_RECORD_KEY, MOST_RECORDS, "RemovedFromOperationalUse", "ReasonForRemovalCodeSequence"),
        *("FileSetAccessSequence", "FileAccessSequence", "MetadataSequence", "UpdatedMetadataSequence"),
    )
)

# Purpose of Reference to Alternate Representation (PS3.16 CID 7205): code, scheme, meaning.
ALTERNATE_SOP_CLASS = ("121326", "DCM", "Alternate SOP Class instance")
