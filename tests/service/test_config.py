"""The configuration is read as written, and what cannot be meant is refused with file, key, found and expected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.archive.views import View
from gateway.errors import ConfigError
from gateway.service import config
from gateway.service.config import EXAMPLE, ConfigErrors, Quota, parse
from gateway.service.rooms import network_settings, targets

ROOT = Path(__file__).parents[2]

PEER = '[[peer]]\nae_title = "CT1"\n'
PACS = '[[destination]]\nae_title = "PACS"\nhost = "192.0.2.20"\nport = 104\n'


def problems(text: str) -> list[ConfigError]:
    with pytest.raises(ConfigErrors) as caught:
        parse(text, "gateway.toml")
    return list(caught.value.problems)


def test_the_example_holds_every_key() -> None:
    import tomllib

    import msgspec

    # Some stand there as comments: with them the gateway would want files that are not there.
    text = re.sub(r"^# (\w+ = )", r"\1", EXAMPLE, flags=re.MULTILINE)
    text = text.replace("tls = false", "tls = true")
    assert parse(text).tls.demanding
    document = tomllib.loads(text)
    for section in config.SECTIONS:
        part = document[section]
        shape = {**config.TABLES, **config.LISTS}.get(section)
        if shape:
            table = part[0] if isinstance(part, list) else part
            assert set(table) == {field.name for field in msgspec.structs.fields(shape)}


def test_values_of_the_example_arrive() -> None:
    loaded = parse(EXAMPLE)
    assert (loaded.gateway.ae_title, loaded.gateway.bind, loaded.gateway.port) == ("GATEWAY", "127.0.0.1", 11112)
    assert loaded.views == {"GATEWAY_ENH": "enhanced", "GATEWAY_CLS": "classic"}
    assert loaded.intake.study_quiet_seconds == 120
    assert loaded.storage.limit == Quota(share=0.8)
    assert loaded.peer[0].may == ("store", "query", "retrieve", "commit")
    assert loaded.destination[0].when_refused == "classic"
    assert loaded.destination[0].suitability == "safe"
    assert loaded.conversion.four_d == "volumes"


@pytest.mark.parametrize("page", ["README.md", "gateway/docs/configuration.md"])
def test_what_the_manual_shows_can_be_used(page: str) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        assert parse(block).destination[0].ae_title == "PACS"


def test_an_empty_file_means_the_defaults() -> None:
    loaded = parse("")
    assert loaded.gateway.port == 11112
    assert loaded.intake.unknown_peers == "reject"
    assert loaded.peer == ()


def test_what_show_prints_reads_back_as_the_same_configuration() -> None:
    loaded = parse(EXAMPLE + '[[peer]]\nae_title = "CT 2"\nmay = []\n')
    assert parse(config.as_toml(loaded)) == loaded
    spaced = parse('[views]\n"MY VIEW" = "classic"\n')
    assert parse(config.as_toml(spaced)) == spaced


IMPOSSIBLE = [
    ('[gateway]\nae_title = ""', "gateway.ae_title"),
    ('[gateway]\nae_title = "SEVENTEEN_LETTERS"', "gateway.ae_title"),
    ('[gateway]\nae_title = "A\\\\B"', "gateway.ae_title"),
    ('[gateway]\nae_title = "A\\tB"', "gateway.ae_title"),
    ('[gateway]\nae_title = "A\\n"', "gateway.ae_title"),
    ('[gateway]\nae_title = " A"', "gateway.ae_title"),
    ('[gateway]\nae_title = "GÄTEWAY"', "gateway.ae_title"),
    ("[gateway]\nport = 0", "gateway.port"),
    ("[gateway]\nport = 70000", "gateway.port"),
    ('[gateway]\nport = "11112"', "gateway.port"),
    ("[gateway]\nport = 11112.0", "gateway.port"),
    ("[gateway]\nport = true", "gateway.port"),
    ('[gateway]\nbind = ""', "gateway.bind"),
    ('[gateway]\ndata_dir = "data"', "gateway.data_dir"),
    ("gateway = 1", "gateway"),
    ('[views]\nA = "enhansed"', "views.A"),
    ('[views]\nAN_AE_TITLE_TOO_LONG = "enhanced"', "views.AN_AE_TITLE_TOO_LONG"),
    ('[views]\nGATEWAY = "enhanced"', "views.GATEWAY"),
    ("views = []", "views"),
    ('[intake]\nunknown_peers = "maybe"', "intake.unknown_peers"),
    ("[intake]\nstudy_quiet_seconds = -1", "intake.study_quiet_seconds"),
    ("[intake]\nstudy_quiet_seconds = inf", "intake.study_quiet_seconds"),
    ("[intake]\nstudy_quiet_seconds = nan", "intake.study_quiet_seconds"),
    ("[intake]\nmax_associations = 0", "intake.max_associations"),
    ('[storage]\nquota = "much"', "storage.quota"),
    ('[storage]\nquota = "0%"', "storage.quota"),
    ('[storage]\nquota = "101%"', "storage.quota"),
    ('[storage]\nquota = "200"', "storage.quota"),
    ("[storage]\nquota = 80", "storage.quota"),
    ("[storage]\nkeep_days = -1", "storage.keep_days"),
    ('[commitment]\nmeans = "hoped"', "commitment.means"),
    (PEER + PEER.replace("CT1", "CT2") + "port = 0", "peer[2].port"),
    (PEER + "port = 104", "peer[1].port"),
    (PEER + 'may = ["store", "fly"]', "peer[1].may"),
    (PEER + 'may = "store"', "peer[1].may"),
    (PEER + 'convert = "yes"', "peer[1].convert"),
    (PEER + "deflate = true", "peer[1].deflate"),
    (PEER + PEER, "peer[2].ae_title"),
    ("[[peer]]\nhost = 'ct1'", "peer[1].ae_title"),
    ("[peer]\nae_title = 'CT1'", "peer"),
    (PACS + PACS, "destination[2].ae_title"),
    (PACS.replace("port = 104\n", ""), "destination[1].port"),
    (PACS + 'view = "all"', "destination[1].view"),
    (PACS + 'when_refused = "drop"', "destination[1].when_refused"),
    (PACS + 'suitability = "best"', "destination[1].suitability"),
    ('[conversion]\nfour_d = "two"', "conversion.four_d"),
    (PACS + 'commitment = "no"', "destination[1].commitment"),
    (PACS + "deflate = 6", "destination[1].deflate"),
    (PACS + '[[peer]]\nae_title = "PACS"\nhost = "192.0.2.99"\nport = 104', "destination[1]"),
    ('[[destination]]\nae_title = "GATEWAY"\nhost = "localhost"\nport = 11112', "destination[1]"),
    ("[gatway]", "gatway"),
    ("[gateway]\nprot = 1", "gateway.prot"),
    (PEER + "hots = 'a'", "peer[1].hots"),
]


@pytest.mark.parametrize(("text", "key"), IMPOSSIBLE, ids=[text.replace("\n", " ") for text, _ in IMPOSSIBLE])
def test_impossible_value_is_refused_naming_file_and_key(text: str, key: str) -> None:
    (problem,) = problems(text)
    assert problem.subject == f"gateway.toml: {key}"
    assert problem.expected or problem.remedy


def test_refusal_says_what_was_found_and_expected() -> None:
    (problem,) = problems(PEER + PEER.replace("CT1", "CT2") + 'host = "ct2"\nport = 70000')
    assert str(problem) == (
        "gateway.toml: peer[2].port: impossible value; found 70000; expected a port number from 1 to 65535"
    )


def test_a_slip_of_the_pen_is_answered_with_the_key_that_was_meant() -> None:
    (problem,) = problems("[intake]\nstudy_quite_seconds = 5")
    assert "did you mean 'study_quiet_seconds'?" in str(problem)


def test_all_problems_are_reported_at_once() -> None:
    found = problems('[gateway]\nport = 0\nae_title = ""\n[intake]\nunknown_peers = 1\n' + PEER + "port = 9")
    assert {problem.subject.split(": ")[1] for problem in found} == {
        "gateway.port",
        "gateway.ae_title",
        "intake.unknown_peers",
        "peer[1].port",
    }


def test_text_that_is_no_toml_is_refused_with_its_line() -> None:
    (problem,) = problems("[gateway]\nport = 11112\nae_title = GATEWAY\n")
    assert "line 3" in str(problem)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        config.load(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        config.load(tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"[gateway]\nae_title = '\xff'\n")
    with pytest.raises(ConfigError, match="line 2 is not UTF-8"):
        config.load(binary)


def test_without_a_file_the_appliance_s_place_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "DEFAULT_PATH", tmp_path / "gateway.toml")
    with pytest.raises(ConfigError, match="gateway config example"):
        config.find(None)
    (tmp_path / "gateway.toml").write_text("")
    assert config.find(None) == tmp_path / "gateway.toml"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("80%", 800), ("100%", 1000), ("200MB", 200_000_000), ("1.5 GB", 1_500_000_000), ("2TB", 2 * 10**12)],
)
def test_quota_is_a_share_of_the_file_system_or_a_size(text: str, expected: int) -> None:
    assert parse(f'[storage]\nquota = "{text}"').storage.limit.bytes_of(1000) == expected


def test_remarks_tell_of_a_box_that_nobody_may_call_and_that_delivers_nothing() -> None:
    assert len(list(config.remarks(parse("")))) == 2
    assert list(config.remarks(parse(EXAMPLE))) == []


def test_network_settings_carry_peers_views_and_destinations() -> None:
    from gateway.archive.views import View
    from gateway.service.rooms import network_settings

    settings = network_settings(parse(EXAMPLE))
    assert settings.views == {"GATEWAY_ENH": View.ENHANCED, "GATEWAY_CLS": View.CLASSIC}
    assert settings.allows("CT1", "retrieve")
    assert not settings.allows("CT2", "store")
    assert {name: (to.host, to.port) for name, to in settings.destinations.items()} == {
        "CT1": ("192.0.2.10", 104),
        "PACS": ("192.0.2.20", 104),
    }
    assert settings.priors_from == {"PACS"}


def test_what_is_sent_deflated_is_what_either_entry_of_a_title_says() -> None:
    address = 'host = "192.0.2.20"\nport = 104\n'
    station, other = f"{PEER}{address}deflate = true\n", PEER.replace("CT1", "CT2") + address
    loaded = parse(PACS + "deflate = true\n" + PACS.replace("PACS", "NEAR") + station + other)
    deflated = {name: to.deflate for name, to in network_settings(loaded).destinations.items()}
    assert deflated == {"PACS": True, "NEAR": False, "CT1": True, "CT2": False}
    assert [(one.name, one.destination.deflate) for one in targets(loaded)] == [("PACS", True), ("NEAR", False)]
    both = parse(PACS.replace("PACS", "CT1") + station)
    assert [one.destination.deflate for one in targets(both)] == [True]


PULL = '[[destination]]\nae_title = "PACS"\nhost = "192.0.2.20"\nport = 104\nmode = "pull"\n'


def test_R1_a_destination_that_fetches_needs_a_view_that_is_served() -> None:
    with pytest.raises(ConfigErrors, match=r"destination\[1\]\.view: no such view to fetch; found 'enhanced'"):
        parse(PULL)
    assert parse(PULL + 'view = "received"').destination[0].mode == "pull"
    assert parse(PULL + '[views]\nGATEWAY_ENH = "enhanced"').destination[0].view == "enhanced"


def test_R1_a_destination_that_fetches_may_retrieve_and_another_only_report() -> None:
    views = '[views]\nGATEWAY_ENH = "enhanced"\n'
    with pytest.raises(ConfigErrors, match=r"peer\[1\]\.may: destination\[1\] has mode pull"):
        parse(PULL + views + '[[peer]]\nae_title = "PACS"\nmay = ["store"]\n')
    settings = network_settings(parse(PULL + views))
    assert settings.allows("PACS", "retrieve")
    assert not settings.allows("PACS", "store")
    assert settings.peer("PACS").host == "192.0.2.20"
    assert settings.pulls == {"PACS": View.ENHANCED}
    (target,) = targets(parse(PULL + views))
    assert (target.pull, target.destination.calling_ae) == (True, "GATEWAY_ENH")
    pushed = network_settings(parse(PULL.replace("pull", "push")))
    assert pushed.peer("PACS").may == frozenset()
