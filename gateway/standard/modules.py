"""Modules of the Legacy Converted Enhanced CT, MR and PET Image IODs (PS3.3 A.70 to A.72, annex C).

Top-level attributes only, with their types. Attributes whose value a conversion makes anew (UIDs, Instance Number,
Image Type, Contributing Equipment, evidence ...) are not listed: what is listed is copied when all sources
agree.
"""

from __future__ import annotations

from typing import NamedTuple


class Module(NamedTuple):
    """A module: its section of PS3.3, its information entity and its attributes as ``Keyword:Type``."""

    section: str
    entity: str
    attributes: tuple[str, ...]


def _keywords(text: str) -> tuple[str, ...]:
    return tuple(text.split())


MODULES: dict[str, Module] = {
    "Patient": Module(
        "C.7.1.1",
        "Patient",
        _keywords(
            """
            ReferencedPatientSequence:3 PatientName:2 PatientID:2 IssuerOfPatientID:3 TypeOfPatientID:3
            IssuerOfPatientIDQualifiersSequence:3 SourcePatientGroupIdentificationSequence:3
            GroupOfPatientsIdentificationSequence:3 PatientBirthDate:2 PatientBirthTime:3
            PatientBirthDateInAlternativeCalendar:3 PatientDeathDateInAlternativeCalendar:3
            PatientAlternativeCalendar:1C PatientSex:2 QualityControlSubject:3 StrainDescription:3
            StrainNomenclature:3 StrainStockSequence:3 StrainAdditionalInformation:3 StrainCodeSequence:3
            GeneticModificationsSequence:3 OtherPatientNames:3 OtherPatientIDsSequence:3
            ReferencedPatientPhotoSequence:3 EthnicGroup:3 EthnicGroupCodeSequence:3 PatientSpeciesDescription:1C
            PatientSpeciesCodeSequence:1C PatientBreedDescription:2C PatientBreedCodeSequence:2C
            BreedRegistrationSequence:2C ResponsiblePerson:2C ResponsiblePersonRole:1C ResponsibleOrganization:2C
            PatientComments:3 PatientIdentityRemoved:3 DeidentificationMethod:1C
            DeidentificationMethodCodeSequence:1C
            """
        ),
    ),
    "Clinical Trial Subject": Module(
        "C.7.1.3",
        "Patient",
        _keywords(
            """
            ClinicalTrialSponsorName:1 ClinicalTrialProtocolID:1 ClinicalTrialProtocolName:2
            IssuerOfClinicalTrialProtocolID:3 OtherClinicalTrialProtocolIDsSequence:3 ClinicalTrialSiteID:2
            ClinicalTrialSiteName:2 IssuerOfClinicalTrialSiteID:3 ClinicalTrialSubjectID:1C
            IssuerOfClinicalTrialSubjectID:3 ClinicalTrialSubjectReadingID:1C IssuerOfClinicalTrialSubjectReadingID:3
            ClinicalTrialProtocolEthicsCommitteeName:1C ClinicalTrialProtocolEthicsCommitteeApprovalNumber:3
            """
        ),
    ),
    "General Study": Module(
        "C.7.2.1",
        "Study",
        _keywords(
            """
            StudyDate:2 StudyTime:2 AccessionNumber:2 IssuerOfAccessionNumberSequence:3 ReferringPhysicianName:2
            ReferringPhysicianIdentificationSequence:3 ConsultingPhysicianName:3
            ConsultingPhysicianIdentificationSequence:3 StudyDescription:3 ProcedureCodeSequence:3
            PhysiciansOfRecord:3 PhysiciansOfRecordIdentificationSequence:3 NameOfPhysiciansReadingStudy:3
            PhysiciansReadingStudyIdentificationSequence:3 ReferencedStudySequence:3 StudyInstanceUID:1 StudyID:2
            RequestingService:3 RequestingServiceCodeSequence:3 ReasonForPerformedProcedureCodeSequence:3
            """
        ),
    ),
    "Patient Study": Module(
        "C.7.2.2",
        "Study",
        _keywords(
            """
            AdmittingDiagnosesDescription:3 AdmittingDiagnosesCodeSequence:3 PatientAge:3 PatientSize:3
            PatientSizeCodeSequence:3 PatientBodyMassIndex:3 MeasuredAPDimension:3 MeasuredLateralDimension:3
            PatientWeight:3 MedicalAlerts:3 Allergies:3 Occupation:3 SmokingStatus:3 AdditionalPatientHistory:3
            PregnancyStatus:3 LastMenstrualDate:3 PatientSexNeutered:2C ReasonForVisit:3 ReasonForVisitCodeSequence:3
            AdmissionID:3 IssuerOfAdmissionIDSequence:3 ServiceEpisodeID:3 ServiceEpisodeDescription:3
            IssuerOfServiceEpisodeIDSequence:3 PatientState:3
            """
        ),
    ),
    "Clinical Trial Study": Module(
        "C.7.2.3",
        "Study",
        _keywords(
            """
            ClinicalTrialTimePointID:2 ClinicalTrialTimePointDescription:3 LongitudinalTemporalOffsetFromEvent:3
            LongitudinalTemporalEventType:1C ClinicalTrialTimePointTypeCodeSequence:3
            IssuerOfClinicalTrialTimePointID:3 ConsentForClinicalTrialUseSequence:3
            """
        ),
    ),
    "General Series": Module(
        "C.7.3.1",
        "Series",
        _keywords(
            """
            Modality:1 SeriesDescription:3 SeriesDescriptionCodeSequence:3 PerformingPhysicianName:3
            PerformingPhysicianIdentificationSequence:3 OperatorsName:3 OperatorIdentificationSequence:3
            ReferencedPerformedProcedureStepSequence:3 RelatedSeriesSequence:3 AnatomicalOrientationType:1C
            BodyPartExamined:3 ProtocolName:3 PatientPosition:2C SeriesNumber:2 Laterality:2C
            SmallestPixelValueInSeries:3 LargestPixelValueInSeries:3 PerformedProcedureStepStartDate:3
            PerformedProcedureStepStartTime:3 PerformedProcedureStepEndDate:3 PerformedProcedureStepEndTime:3
            PerformedProcedureStepID:3 PerformedProcedureStepDescription:3 PerformedProtocolCodeSequence:3
            RequestAttributesSequence:3 CommentsOnThePerformedProcedureStep:3 TreatmentSessionUID:3
            """
        ),
    ),
    "CT Series": Module(
        "C.8.15.1",
        "Series",
        _keywords(
            """
            Modality:1 ReferencedPerformedProcedureStepSequence:1C
            """
        ),
    ),
    "MR Series": Module(
        "C.8.13.6",
        "Series",
        _keywords(
            """
            Modality:1 ReferencedPerformedProcedureStepSequence:1C
            """
        ),
    ),
    "Enhanced PET Series": Module(
        "C.8.22.1",
        "Series",
        _keywords(
            """
            Modality:1 ReferencedPerformedProcedureStepSequence:1C RelatedSeriesSequence:1C
            """
        ),
    ),
    "Clinical Trial Series": Module(
        "C.7.3.2",
        "Series",
        _keywords(
            """
            ClinicalTrialCoordinatingCenterName:2 ClinicalTrialSeriesID:3 ClinicalTrialSeriesDescription:3
            IssuerOfClinicalTrialSeriesID:3
            """
        ),
    ),
    "Frame of Reference": Module(
        "C.7.4.1",
        "Frame of Reference",
        _keywords(
            """
            FrameOfReferenceUID:1 PositionReferenceIndicator:2
            """
        ),
    ),
    "Synchronization": Module(
        "C.7.4.2",
        "Frame of Reference",
        _keywords(
            """
            TriggerSourceOrType:3 SynchronizationTrigger:1 SynchronizationChannel:1C AcquisitionTimeSynchronized:1
            TimeSource:3 TimeDistributionProtocol:3 NTPSourceAddress:3 SynchronizationFrameOfReferenceUID:1
            """
        ),
    ),
    "General Equipment": Module(
        "C.7.5.1",
        "Equipment",
        _keywords(
            """
            Manufacturer:2 InstitutionName:3 InstitutionAddress:3 StationName:3 InstitutionalDepartmentName:3
            InstitutionalDepartmentTypeCodeSequence:3 ManufacturerModelName:3 DeviceSerialNumber:3 DeviceUID:3
            GantryID:3 UDISequence:3 ManufacturerDeviceClassUID:3 SoftwareVersions:3 SpatialResolution:3
            DateOfLastCalibration:3 TimeOfLastCalibration:3 DateOfManufacture:3 DateOfInstallation:3
            PixelPaddingValue:1C
            """
        ),
    ),
    "Enhanced General Equipment": Module(
        "C.7.5.2",
        "Equipment",
        _keywords(
            """
            Manufacturer:1 ManufacturerModelName:1 DeviceSerialNumber:1 SoftwareVersions:1
            """
        ),
    ),
    "Image Pixel": Module(
        "C.7.6.3",
        "Image",
        _keywords(
            """
            SamplesPerPixel:1 PhotometricInterpretation:1 PlanarConfiguration:1C Rows:1 Columns:1 PixelAspectRatio:1C
            BitsAllocated:1 BitsStored:1 HighBit:1 PixelRepresentation:1 SmallestImagePixelValue:3
            LargestImagePixelValue:3 PixelPaddingRangeLimit:1C RedPaletteColorLookupTableDescriptor:1C
            GreenPaletteColorLookupTableDescriptor:1C BluePaletteColorLookupTableDescriptor:1C
            RedPaletteColorLookupTableData:1C GreenPaletteColorLookupTableData:1C BluePaletteColorLookupTableData:1C
            ICCProfile:3 ColorSpace:3
            """
        ),
    ),
    "Contrast/Bolus": Module(
        "C.7.6.4",
        "Image",
        _keywords(
            """
            ContrastBolusAgent:2 ContrastBolusAgentSequence:3 ContrastBolusAdministrationRouteSequence:3
            ContrastBolusRoute:3 ContrastBolusVolume:3 ContrastBolusStartTime:3 ContrastBolusStopTime:3
            ContrastBolusTotalDose:3 ContrastFlowRate:3 ContrastFlowDuration:3 ContrastBolusIngredient:3
            ContrastBolusIngredientConcentration:3
            """
        ),
    ),
    "Cardiac Synchronization": Module(
        "C.7.6.18.1",
        "Image",
        _keywords(  # Technique is Type 1C: without it nothing says that the module is meant
            """
            CardiacSynchronizationTechnique:1 CardiacSignalSource:1C CardiacRRIntervalSpecified:1C
            CardiacBeatRejectionTechnique:1C LowRRValue:2C HighRRValue:2C IntervalsAcquired:2C IntervalsRejected:2C
            SkipBeats:3 CardiacFramingType:1C
            """
        ),
    ),
    "Respiratory Synchronization": Module(
        "C.7.6.18.2",
        "Image",
        _keywords(
            """
            RespiratoryMotionCompensationTechnique:1 RespiratorySignalSource:1C RespiratoryTriggerDelayThreshold:1C
            RespiratoryTriggerType:1C
            """
        ),
    ),
    "Bulk Motion Synchronization": Module(
        "C.7.6.18.3",
        "Image",
        _keywords("BulkMotionCompensationTechnique:1 BulkMotionSignalSource:1C"),
    ),
    "Intervention": Module(
        "C.7.6.13",
        "Image",
        _keywords(
            """
            InterventionSequence:3
            """
        ),
    ),
    "Acquisition Context": Module(
        "C.7.6.14",
        "Image",
        _keywords(
            """
            AcquisitionContextSequence:2 AcquisitionContextDescription:3
            """
        ),
    ),
    "Device": Module(
        "C.7.6.12",
        "Image",
        _keywords(
            """
            DeviceSequence:1
            """
        ),
    ),
    "Specimen": Module(
        "C.7.6.22",
        "Image",
        _keywords(
            """
            ContainerIdentifier:1 IssuerOfTheContainerIdentifierSequence:2 AlternateContainerIdentifierSequence:3
            ContainerTypeCodeSequence:2 ContainerDescription:3 ContainerComponentSequence:3
            SpecimenDescriptionSequence:1
            """
        ),
    ),
    "Enhanced CT Image": Module(
        "C.8.15.2",
        "Image",
        _keywords(
            """
            AcquisitionDateTime:1C ReferencedWaveformSequence:3 ReferencedRawDataSequence:3
            ReferencedPresentationStateSequence:1C ContentQualification:1C AcquisitionDuration:1C
            MultienergyCTAcquisition:3 AcquisitionNumber:3 ImageComments:3 SamplesPerPixel:1
            PhotometricInterpretation:1 BitsAllocated:1 BitsStored:1 HighBit:1 BurnedInAnnotation:1C
            RecognizableVisualFeatures:3 LossyImageCompression:1C LossyImageCompressionRatio:1C
            LossyImageCompressionMethod:1C ViewCodeSequence:3 SliceProgressionDirection:3 IconImageSequence:3
            PresentationLUTShape:1 IsocenterPosition:3 EquipmentFrameOfReferenceUID:1C
            PatientTreatmentPreparationSequence:3 PatientToEquipmentRelationshipSequence:3
            ImagingEquipmentToTreatmentDeliveryDeviceRelationshipSequence:3 ReferencedRTPlanSequence:3
            """
        ),
    ),
    "Enhanced MR Image": Module(
        "C.8.13.1",
        "Image",
        _keywords(
            """
            AcquisitionDateTime:1C ReferencedWaveformSequence:3 ReferencedRawDataSequence:3 ComplexImageComponent:1C
            AcquisitionContrast:1C ReferencedPresentationStateSequence:1C MagneticFieldStrength:1C B1rms:3
            ContentQualification:1C KSpaceFiltering:1C AcquisitionDuration:1C ResonantNucleus:1C
            ApplicableSafetyStandardAgency:1C ApplicableSafetyStandardDescription:3
            FunctionalSettlingPhaseFramesPresent:3 AcquisitionNumber:3 ImageComments:3 SamplesPerPixel:1
            PhotometricInterpretation:1 PlanarConfiguration:1C BitsAllocated:1 BitsStored:1 HighBit:1
            PixelRepresentation:1 BurnedInAnnotation:1C RecognizableVisualFeatures:3 LossyImageCompression:1C
            LossyImageCompressionRatio:1C LossyImageCompressionMethod:1C ViewCodeSequence:3
            SliceProgressionDirection:3 IconImageSequence:3 PresentationLUTShape:1C IsocenterPosition:3
            EquipmentFrameOfReferenceUID:1C PatientTreatmentPreparationSequence:3
            PatientToEquipmentRelationshipSequence:3 ImagingEquipmentToTreatmentDeliveryDeviceRelationshipSequence:3
            ReferencedRTPlanSequence:3
            """
        ),
    ),
    "Enhanced PET Image": Module(
        "C.8.22.3",
        "Image",
        _keywords(
            """
            AcquisitionDateTime:1C ReferencedWaveformSequence:3 ReferencedRawDataSequence:3
            ReferencedPresentationStateSequence:1C ContentQualification:1 AcquisitionDuration:1C AcquisitionNumber:3
            ImageComments:3 SamplesPerPixel:1 PhotometricInterpretation:1 BitsAllocated:1 BitsStored:1 HighBit:1
            BurnedInAnnotation:1C RecognizableVisualFeatures:3 LossyImageCompression:1C LossyImageCompressionRatio:1C
            LossyImageCompressionMethod:1C IconImageSequence:3 PresentationLUTShape:1 IsocenterPosition:3
            EquipmentFrameOfReferenceUID:1C PatientTreatmentPreparationSequence:3
            PatientToEquipmentRelationshipSequence:3 ImagingEquipmentToTreatmentDeliveryDeviceRelationshipSequence:3
            ReferencedRTPlanSequence:3
            """
        ),
    ),
    "SOP Common": Module(
        "C.12.1",
        "Image",
        _keywords(
            """
            SpecificCharacterSet:1C InstanceCreationDate:3 InstanceCreationTime:3 InstanceCreatorUID:3
            InstanceCoercionDateTime:3 RelatedGeneralSOPClassUID:3 OriginalSpecializedSOPClassUID:3 SyntheticData:3
            CodingSchemeIdentificationSequence:3 ContextGroupIdentificationSequence:3
            MappingResourceIdentificationSequence:3 TimezoneOffsetFromUTC:3
            PrivateDataElementCharacteristicsSequence:3 ContentQualification:3 ReferencedDefinedProtocolSequence:1C
            ReferencedPerformedProtocolSequence:1C LongitudinalTemporalInformationModified:3
            HL7StructuredDocumentReferenceSequence:1C SOPInstanceStatus:3 SOPAuthorizationDateTime:3
            SOPAuthorizationComment:3 AuthorizationEquipmentCertificationNumber:3 OriginalAttributesSequence:3
            InstanceOriginStatus:3 BarcodeValue:3
            """
        ),
    ),
}

# Modules by IOD: "M" mandatory, "U" used when the sources fill its Type 1 attributes. Contrast/Bolus has all attributes
# of the enhanced form's Contrast/Bolus Agent Sequence that classic images may have.
_COMMON = {
    "Patient": "M",
    "Clinical Trial Subject": "U",
    "General Study": "M",
    "Patient Study": "U",
    "Clinical Trial Study": "U",
    "General Series": "M",
    "Clinical Trial Series": "U",
    "Frame of Reference": "M",
    "Synchronization": "U",
    "General Equipment": "M",
    "Enhanced General Equipment": "U",
    "Image Pixel": "M",
    "Cardiac Synchronization": "U",
    "Respiratory Synchronization": "U",
    "Acquisition Context": "M",
    "Specimen": "U",
    "SOP Common": "M",
}
_CT = {"CT Series": "M", "Contrast/Bolus": "U", "Device": "U", "Enhanced CT Image": "M"}
_MR = {
    "MR Series": "M",
    "Contrast/Bolus": "U",
    "Bulk Motion Synchronization": "U",
    "Device": "U",
    "Enhanced MR Image": "M",
}
_PT = {"Enhanced PET Series": "M", "Intervention": "U", "Enhanced PET Image": "M"}

IOD_MODULES: dict[str, dict[str, str]] = {
    "CT": _COMMON | _CT,  # A.70
    "MR": _COMMON | _MR,  # A.71
    "PT": _COMMON | _PT,  # A.72
}
