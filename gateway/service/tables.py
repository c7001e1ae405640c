"""The tables of the configuration file: every key, written down once.

A key's type carries its limits, the words an error uses for what it accepts (``title``) and the words the manual uses
for what it does (``description``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

EXAMPLE = """\
# gateway.toml
[gateway]
ae_title = "GATEWAY"
bind = "127.0.0.1"            # the example; the appliance listens on all
port = 11112
data_dir = "/var/lib/gateway"

[views]                       # further application entities and the view each possesses
GATEWAY_ENH = "enhanced"
GATEWAY_CLS = "classic"

[intake]
unknown_peers = "reject"      # or "accept"
study_quiet_seconds = 120
query_wait_seconds = 2        # for a conversion that a query is about
max_associations = 20

[storage]
quota = "80%"                 # of the file system, or "200GB"
keep_days = 7                 # after the last destination has committed

[query]
empty_matches = false         # true: what has no value matches every value (PS3.4 C.2.2.1.2)

[conversion]
four_d = "volumes"            # an object for each volume of a series, or "one" where readers can tell all apart

[commitment]
means = "delivered"           # or "stored"
patience_hours = 24           # then what is not safe is reported as failed
answer_days = 7               # that an answer nobody takes is tried again

[tls]                         # DICOM over TLS: see tls.md in the manual
port = 2762                   # listens where there is a certificate
# certificate = "gateway.crt" # in /etc/gateway/tls, or a credential of the service, or a path
# key = "gateway.key"
# authorities = "peers.crt"   # who signs the certificates of peers
# client_certificates = true  # callers must have one; the default where there are authorities
plain = "all"                 # or "loopback", "nobody": who may call without TLS

[[peer]]
ae_title = "CT1"
host = "192.0.2.10"           # optional: calls must come from here
port = 104                    # needed when it is a C-MOVE destination
may = ["store", "query", "retrieve", "commit"]
tls = false                   # true: it is called over TLS
# verify_name = "ct1.example" # its certificate is for that name, and not for host
convert = true                # false: this peer's images are passed on as they are
deflate = false               # true: what a C-MOVE sends there is offered deflated

[[destination]]
ae_title = "PACS"
host = "192.0.2.20"
port = 104
tls = false                   # true: it is called over TLS
# verify_name = "pacs.example"
mode = "push"                 # or "pull": it is notified and fetches
view = "enhanced"             # received | classic | enhanced
when_refused = "classic"      # PACS refuses the enhanced SOP class: send classic, or "hold"
suitability = "safe"          # what most readers cannot show right as enhanced stays classic; or "standard"
commitment = true
deflate = false               # true: offered deflated, for a slow line
"""

# PS3.5 6.2, VR AE: no backslash, no control character; leading and trailing spaces would be insignificant.
AETitle = Annotated[
    str,
    Meta(
        pattern=r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?\Z",
        title="an AE title: 1 to 16 printable ASCII characters, no backslash, no space at either end",
    ),
]
Port = Annotated[int, Meta(ge=1, le=65535, title="a port number from 1 to 65535")]
Host = Annotated[str, Meta(pattern=r"^[^\s/]+\Z", title="a host name or an IP address")]
Folder = Annotated[str, Meta(pattern=r"^/", title="an absolute path")]
Pem = Annotated[
    str,
    Meta(
        pattern=r"^(/\S.*|[A-Za-z0-9_][A-Za-z0-9_.-]*)\Z",
        title="a file in PEM: an absolute path, or a name of letters, digits, dots and dashes",
    ),
]
PemFile = Annotated[Pem | None, Meta(title=Pem.__metadata__[0].title)]
CertifiedName = Annotated[str, Meta(pattern=r"^[^\s/.][^\s/]*\Z", title="a host name or an IP address")]
Seconds = Annotated[float, Meta(ge=0, le=604800, title="a number of seconds from 0 to 604800 (a week)")]
Days = Annotated[float, Meta(ge=0, le=36500, title="a number of days from 0 to 36500")]
Hours = Annotated[float, Meta(ge=0, le=8760, title="a number of hours from 0 to 8760 (a year)")]
Count = Annotated[int, Meta(ge=1, le=1000, title="a whole number from 1 to 1000")]
QuotaText = Annotated[
    str,
    Meta(
        pattern=r"^(([1-9][0-9]?|100)%|[1-9][0-9]*(\.[0-9]+)? ?[MGT]B)\Z",
        title='a share of the file system such as "80%", or a size such as "200GB" (MB, GB, TB)',
    ),
]
Switch = Annotated[bool, Meta(title="true or false")]
ViewName = Annotated[Literal["received", "classic", "enhanced"], Meta(title='"received", "classic" or "enhanced"')]
Plain = Annotated[Literal["all", "loopback", "nobody"], Meta(title='"all", "loopback" or "nobody"')]
PeerPolicy = Annotated[Literal["reject", "accept"], Meta(title='"reject" or "accept"')]
Refusal = Annotated[Literal["classic", "hold"], Meta(title='"classic" or "hold"')]
Suitability = Annotated[Literal["safe", "standard"], Meta(title='"safe" or "standard"')]
Means = Annotated[Literal["delivered", "stored"], Meta(title='"delivered" or "stored"')]
Layout = Annotated[Literal["volumes", "one"], Meta(title='"volumes" or "one"')]
Mode = Annotated[Literal["push", "pull"], Meta(title='"push" or "pull"')]
Services = Annotated[
    tuple[Literal["store", "query", "retrieve", "commit"], ...],
    Meta(title='a list of "store", "query", "retrieve" and "commit"'),
]


def says(text: str) -> Meta:
    """What the manual says about a key."""
    return Meta(description=text)


OverTls = Annotated[Switch, says("It is called over TLS.")]
VerifyName = Annotated[
    CertifiedName | None,
    Meta(title=CertifiedName.__metadata__[0].title),
    says("With `tls`: the name its certificate is for, if that is not `host`."),
]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the tables of the configuration file."""


class Gateway(Table, frozen=True):
    """``[gateway]``: who the box is and where it listens."""

    ae_title: Annotated[AETitle, says("AE title of the box; it possesses the view *received*.")] = "GATEWAY"
    bind: Annotated[Host, says("Address to listen on; the default is every address.")] = "0.0.0.0"
    port: Annotated[Port, says("Port to listen on.")] = 11112
    data_dir: Annotated[Folder, says("Everything the box keeps: received files, recipes, index.")] = "/var/lib/gateway"


class Intake(Table, frozen=True):
    """``[intake]``: who may call and when a study counts as complete."""

    unknown_peers: Annotated[
        PeerPolicy, says("What callers without a `[[peer]]` entry get: refused, or allowed to do everything.")
    ] = "reject"
    study_quiet_seconds: Annotated[Seconds, says("A study is complete when nothing came for this long.")] = 120
    query_wait_seconds: Annotated[
        Seconds, says("How long a query for a patient or study waits for its conversion before it is answered.")
    ] = 2
    max_associations: Annotated[Count, says("Associations served at a time, all processes together.")] = 20


class Storage(Table, frozen=True):
    """``[storage]``: how much room the box may take."""

    quota: Annotated[QuotaText, says("Largest share of the file system, or largest size, of `data_dir`.")] = "80%"
    keep_days: Annotated[Days, says("How long a study stays after the last destination has committed to it.")] = 7

    @property
    def limit(self) -> Quota:
        """The quota as numbers."""
        return Quota.parse(self.quota)


class Query(Table, frozen=True):
    """``[query]``: how queries match."""

    empty_matches: Annotated[
        Switch,
        says(
            "`true`: a study, series or image without a value for a key matches whatever is asked, as PS3.4 C.2.2.1.2 "
            'has it; `false`: only what matches everything, `*`, and `""` where that was negotiated.'
        ),
    ] = False


class Conversion(Table, frozen=True):
    """``[conversion]``: how series become enhanced objects; what was distributed stays as it is."""

    four_d: Annotated[
        Layout,
        says(
            "A series of several volumes - times, echoes, b-values - becomes an object for each (`volumes`), or `one` "
            "object where standard attributes tell all of its volumes apart. Enters every new UID."
        ),
    ] = "volumes"


class Commitment(Table, frozen=True):
    """``[commitment]``: what the box promises a modality that asks for storage commitment."""

    means: Annotated[
        Means,
        says(
            "`delivered`: every object that carries the instance is at every destination, and committed there if that "
            "has `commitment`; `stored`: kept here."
        ),
    ] = "delivered"
    patience_hours: Annotated[
        Hours, says("What is not safe by then is reported as failed, so that the modality keeps its copy.")
    ] = 24
    answer_days: Annotated[Days, says("How long an answer that the modality does not take is tried again.")] = 7


class Tls(Table, frozen=True):
    """``[tls]``: secure connections."""

    port: Annotated[Port, says("Port for callers over TLS; the box listens there if it has a certificate.")] = 2762
    certificate: Annotated[
        PemFile,
        says("Certificate of the box, then those between it and its authority; shown to callers and to who is called."),
    ] = None
    key: Annotated[
        PemFile,
        says("Private key of the certificate, without a password."),
    ] = None
    authorities: Annotated[
        PemFile,
        says("Authorities that may have signed the certificates of peers; without it those that the system trusts."),
    ] = None
    client_certificates: Annotated[
        Switch | None,
        Meta(title=Switch.__metadata__[0].title),
        says("Whether callers must have a certificate; without it they must where there are `authorities`."),
    ] = None
    plain: Annotated[Plain, says("Who may call without TLS, at `gateway.port`.")] = "all"

    @property
    def demanding(self) -> bool:
        """Whether callers must have a certificate."""
        return self.authorities is not None if self.client_certificates is None else self.client_certificates


class Peer(Table, frozen=True):
    """``[[peer]]``: a caller the box knows."""

    ae_title: Annotated[AETitle, says("AE title the peer calls with.")]
    host: Annotated[Host | None, Meta(title=Host.__metadata__[0].title), says("Calls must come from here.")] = None
    port: Annotated[
        Port | None, Meta(title=Port.__metadata__[0].title), says("With `host`: the peer is a C-MOVE destination.")
    ] = None
    tls: OverTls = False
    verify_name: VerifyName = None
    may: Annotated[Services, says("What the peer may ask for.")] = ("store", "query", "retrieve", "commit")
    convert: Annotated[Switch, says("`false`: images of this peer are passed on as they are.")] = True
    deflate: Annotated[
        Switch, says("With `host` and `port`: offer what a C-MOVE sends there deflated, as to a destination.")
    ] = False


class Destination(Table, frozen=True):
    """``[[destination]]``: where every study goes."""

    ae_title: Annotated[AETitle, says("AE title of the destination.")]
    host: Annotated[Host, says("Host of the destination.")]
    port: Annotated[Port, says("Port of the destination.")]
    tls: OverTls = False
    verify_name: VerifyName = None
    mode: Annotated[
        Mode, says("`push`: studies are sent to it; `pull`: it is notified of them and fetches them itself.")
    ] = "push"
    view: Annotated[ViewName, says("The view the destination receives.")] = "enhanced"
    when_refused: Annotated[
        Refusal, says("The destination refuses the enhanced SOP class: send `classic`, or `hold` the study.")
    ] = "classic"
    suitability: Annotated[
        Suitability,
        says(
            "`safe`: series that are right by the standard as enhanced objects, and shown wrongly by most readers (no "
            "regular stack, slices with different rescaling), go as classic images, with all that they are tied to by "
            "references; `standard`: they go as enhanced objects."
        ),
    ] = "safe"
    commitment: Annotated[Switch, says("Ask the destination for storage commitment.")] = True
    deflate: Annotated[Switch, says("For a slow line: offer what is kept in Explicit VR Little Endian deflated.")] = (
        False
    )


@dataclass(frozen=True)
class Quota:
    """Room the data directory may take: a share of its file system or a number of bytes; exactly one is set."""

    share: float | None = None
    size: int | None = None

    @classmethod
    def parse(cls, text: str) -> Quota:
        """Read ``80%`` or ``200GB`` (decimal units, as disks are sold)."""
        if text.endswith("%"):
            return cls(share=int(text[:-1]) / 100)
        unit = {"M": 10**6, "G": 10**9, "T": 10**12}[text[-2]]
        return cls(size=int(float(text[:-2]) * unit))

    def bytes_of(self, file_system: int) -> int:
        """Bytes allowed on a file system of `file_system` bytes."""
        return self.size if self.size is not None else int(file_system * (self.share or 0))


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration, checked."""

    gateway: Gateway = Gateway()
    views: dict[AETitle, ViewName] = {}
    intake: Intake = Intake()
    storage: Storage = Storage()
    query: Query = Query()
    conversion: Conversion = Conversion()
    commitment: Commitment = Commitment()
    tls: Tls = Tls()
    peer: tuple[Peer, ...] = ()
    destination: tuple[Destination, ...] = ()

    @property
    def data_dir(self) -> Path:
        """The data directory."""
        return Path(self.gateway.data_dir)
