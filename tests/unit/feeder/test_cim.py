"""CIM models go through pandapower's converter, and nothing is left out unsaid."""

import zipfile

import pandapower as pp
import pytest

from gridsite.errors import DataError, FeederError
from gridsite.feeder.net_sources import load_net
from gridsite.feeder.read_pandapower import read_feeder

pytest.importorskip("lxml", reason="needs lxml")

CIM = "http://iec.ch/TC57/2013/CIM-schema-cim16#"
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    f'<rdf:RDF xmlns:cim="{CIM}" '
    'xmlns:md="http://iec.ch/TC57/61970-552/ModelDescription/1#" '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
)
PROFILES = {
    "EQ": ("EquipmentCore/3/1", "EquipmentOperation/3/1"),
    "SSH": ("SteadyStateHypothesis/1/1",),
    "TP": ("Topology/4/1",),
    "SV": ("StateVariables/4/1",),
}
TERMINALS = {
    "tg": ("grid", "a", 1),
    "t1": ("line", "a", 1),
    "t2": ("line", "b", 2),
    "td": ("load", "b", 1),
}


def thing(kind, name, /, *, about=False, **values):
    """Return one object of a profile; a value that begins with # refers to another."""
    rows = []
    for key, value in values.items():
        tag, text = f"cim:{key.replace('__', '.')}", str(value)
        rows.append(
            f'<{tag} rdf:resource="{text}"/>'
            if text.startswith(("#", "http"))
            else f"<{tag}>{text}</{tag}>"
        )
    ref = f'rdf:about="#_{name}"' if about else f'rdf:ID="_{name}"'
    return f"<cim:{kind} {ref}>{''.join(rows)}</cim:{kind}>\n"


def named(kind, name, /, **values):
    return thing(kind, name, IdentifiedObject__name=name, **values)


def model():
    """Return the profiles of a generated model: grid, 5 km cable, town, at 20 kV."""
    eq = named("GeographicalRegion", "gr")
    eq += named("SubGeographicalRegion", "sr", SubGeographicalRegion__Region="#_gr")
    eq += named("BaseVoltage", "bv", BaseVoltage__nominalVoltage=20)
    eq += named("Substation", "ss", Substation__Region="#_sr")
    eq += named(
        "VoltageLevel",
        "vl",
        VoltageLevel__Substation="#_ss",
        VoltageLevel__BaseVoltage="#_bv",
    )
    inside = {"Equipment__EquipmentContainer": "#_vl"}
    limits = {
        f"ExternalNetworkInjection__{key}": value
        for key, value in {
            "governorSCD": 0,
            **dict.fromkeys(("maxP", "maxQ"), 100),
            **dict.fromkeys(("minP", "minQ"), -100),
            "maxInitialSymShCCurrent": 5000,
            "minInitialSymShCCurrent": 4000,
            **{
                f"{end}{ratio}": 0.1
                for end in ("max", "min")
                for ratio in ("R0ToX0Ratio", "R1ToX1Ratio", "Z0ToZ1Ratio")
            },
        }.items()
    }
    eq += named(
        "ExternalNetworkInjection",
        "grid",
        **inside,
        **limits,
        RegulatingCondEq__RegulatingControl="#_rc",
    )
    eq += named(
        "RegulatingControl",
        "rc",
        RegulatingControl__mode=f"{CIM}RegulatingControlModeKind.voltage",
        RegulatingControl__Terminal="#_tg",
    )
    eq += named(
        "ACLineSegment",
        "line",
        **inside,
        ConductingEquipment__BaseVoltage="#_bv",
        Conductor__length=5,
        **{
            f"ACLineSegment__{key}": value
            for key, value in {"r": 1.0, "x": 0.6, "bch": 1e-4, "gch": 0}.items()
        },
        **{f"ACLineSegment__{key}": 0 for key in ("r0", "x0", "b0ch", "g0ch")},
        ACLineSegment__shortCircuitEndTemperature=80,
    )
    eq += named("ConformLoad", "load", **inside)
    eq += named(
        "OperationalLimitType",
        "lt",
        OperationalLimitType__direction=f"{CIM}"
        "OperationalLimitDirectionKind.absoluteValue",
    )
    eq += named(
        "OperationalLimitSet",
        "ls",
        OperationalLimitSet__Terminal="#_t1",
        OperationalLimitSet__Equipment="#_line",
    )
    eq += named(
        "CurrentLimit",
        "limit",
        CurrentLimit__value=300,
        OperationalLimit__OperationalLimitSet="#_ls",
        OperationalLimit__OperationalLimitType="#_lt",
    )
    for bus in "ab":
        eq += named(
            "ConnectivityNode",
            f"node {bus}".replace(" ", "_"),
            ConnectivityNode__ConnectivityNodeContainer="#_vl",
        )
    ssh = tp = sv = ""
    for name, (element, bus, number) in TERMINALS.items():
        eq += named(
            "Terminal",
            name,
            Terminal__ConductingEquipment=f"#_{element}",
            Terminal__ConnectivityNode=f"#_node_{bus}",
            ACDCTerminal__sequenceNumber=number,
        )
        ssh += thing("Terminal", name, about=True, ACDCTerminal__connected="true")
        tp += thing(
            "Terminal", name, about=True, Terminal__TopologicalNode=f"#_top_{bus}"
        )
    ssh += thing(
        "ConformLoad", "load", about=True, EnergyConsumer__p=2.0, EnergyConsumer__q=0.5
    )
    ssh += thing(
        "ExternalNetworkInjection",
        "grid",
        about=True,
        ExternalNetworkInjection__p=-2,
        ExternalNetworkInjection__q=-0.5,
        ExternalNetworkInjection__referencePriority=1,
        RegulatingCondEq__controlEnabled="true",
    )
    ssh += thing(
        "RegulatingControl",
        "rc",
        about=True,
        RegulatingControl__enabled="true",
        RegulatingControl__targetValue=20.4,
        RegulatingControl__discrete="false",
    )
    for bus in "ab":
        tp += named(
            "TopologicalNode",
            f"top_{bus}",
            TopologicalNode__BaseVoltage="#_bv",
            TopologicalNode__ConnectivityNodeContainer="#_vl",
        )
        tp += thing(
            "ConnectivityNode",
            f"node_{bus}",
            about=True,
            ConnectivityNode__TopologicalNode=f"#_top_{bus}",
        )
        sv += thing(
            "SvVoltage",
            f"sv_{bus}",
            SvVoltage__angle=0,
            SvVoltage__v=20.4,
            SvVoltage__TopologicalNode=f"#_top_{bus}",
        )
    return {"EQ": eq, "SSH": ssh, "TP": tp, "SV": sv}


@pytest.fixture
def write(tmp_path):
    """Return a function that packs profiles and gives the path."""

    def pack(profiles, **more):
        path = tmp_path / "model.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, body in profiles.items():
                uris = "".join(
                    f"<md:Model.profile>http://entsoe.eu/CIM/{uri}</md:Model.profile>"
                    for uri in PROFILES[name]
                )
                head = f'<md:FullModel rdf:about="urn:uuid:{name}">{uris}'
                text = f"{HEAD}{head}</md:FullModel>\n{body}</rdf:RDF>\n"
                archive.writestr(f"model_{name}.xml", text)
            for name, body in more.items():
                archive.writestr(name.replace("__", "."), body)
        return path

    return pack


def test_a_model_equals_the_network_it_describes(write):
    feeder = read_feeder(write(model()))
    net = pp.create_empty_network()
    a, b = pp.create_bus(net, 20.0), pp.create_bus(net, 20.0)
    pp.create_ext_grid(net, a, vm_pu=20.4 / 20.0)
    c_nf = 1e-4 / (2e-9 * 3.141592653589793 * 50.0) / 5.0
    pp.create_line_from_parameters(net, a, b, 5.0, 0.2, 0.12, c_nf, 0.3)
    pp.create_load(net, b, 2.0, 0.5)
    known = read_feeder(net)
    assert (abs(feeder.y - known.y) > 1e-9).nnz == 0
    assert list(feeder.ports.index) == ["load"]
    assert feeder.ports["p_kw"].tolist() == [2000.0]
    assert feeder.elements["rating"].tolist() == [300.0]


@pytest.mark.parametrize(
    "kind", ["EnergyConsumerPhase", "TransformerTank", "VsConverter", "Fuse"]
)
def test_classes_that_are_not_carried_are_refused_by_name(write, kind):
    profiles = model()
    profiles["EQ"] += named(kind, "odd") + named(kind, "other")
    with pytest.raises(FeederError, match=f"holds 2 {kind}, which is not carried"):
        load_net(write(profiles))


def test_an_element_that_the_converter_leaves_out_is_an_error(write):
    profiles = model()
    profiles["EQ"] += named("ConformLoad", "lost")  # no terminal: nowhere
    with pytest.raises(FeederError, match="1 of 2 ConformLoad are left out"):
        load_net(write(profiles))


@pytest.mark.parametrize("missing", ["EQ", "SSH"])
def test_a_missing_profile_is_an_error(write, missing):
    profiles = model()
    del profiles[missing]
    with pytest.raises(FeederError, match=r"CIM fails|left out|no external grid"):
        read_feeder(write(profiles))


def test_archives_hold_xml_alone_and_stay_inside(write):
    for name in ("inner__zip", "run__py"):
        with pytest.raises(FeederError, match="pack the XML profiles alone"):
            load_net(write(model(), **{name: "x"}))
    with pytest.raises(DataError, match="leads out"):
        load_net(write(model(), **{"../model__xml": "<x/>"}))


def test_entities_are_not_followed(write, tmp_path):
    (tmp_path / "secret").write_text("p4ssword")
    hostile = (
        '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM '
        f'"file://{tmp_path}/secret">]><r><a>&x;</a></r>'
    )
    with pytest.raises(FeederError) as error:
        load_net(write({}, bad__xml=hostile))
    assert "p4ssword" not in str(error.value)
    bomb = '<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa">'
    for one, two in zip("bcdefghi", "abcdefgh", strict=True):
        bomb += f'<!ENTITY {one} "{f"&{two};" * 10}">'
    with pytest.raises(FeederError):
        load_net(write({}, bomb__xml=f"{bomb}]><r>&i;</r>"))


def switched(open_=False):
    """Return the model with a breaker before the town, at a bus c."""
    profiles = model()
    ends = {"tb1": ("b", 1), "tb2": ("c", 2)}
    profiles["EQ"] = profiles["EQ"].replace(
        thing_of_terminal("td", "b"), thing_of_terminal("td", "c")
    )
    profiles["EQ"] += named("Breaker", "cb", Equipment__EquipmentContainer="#_vl")
    profiles["EQ"] += named(
        "ConnectivityNode", "node_c", ConnectivityNode__ConnectivityNodeContainer="#_vl"
    )
    profiles["SSH"] += thing(
        "Breaker", "cb", about=True, Switch__open=str(open_).lower()
    )
    for name, (bus, number) in ends.items():
        profiles["EQ"] += named(
            "Terminal",
            name,
            Terminal__ConductingEquipment="#_cb",
            Terminal__ConnectivityNode=f"#_node_{bus}",
            ACDCTerminal__sequenceNumber=number,
        )
        profiles["SSH"] += thing(
            "Terminal", name, about=True, ACDCTerminal__connected="true"
        )
    return profiles


def thing_of_terminal(name, bus):
    return (
        f'"#_{TERMINALS[name][0]}"/><cim:Terminal.ConnectivityNode '
        f'rdf:resource="#_node_{bus}"/>'
    )


@pytest.mark.parametrize("open_", [False, True])
def test_switches_are_carried(write, open_):
    feeder = read_feeder(write(switched(open_)))
    assert bool(feeder.ports["node"]["load"] < 0) is open_  # is it dark?
    if not open_:
        known = read_feeder(write(model()))
        assert (abs(feeder.y - known.y) > 1e-12).nnz == 0


def test_a_folder_is_read_as_its_archive(write, tmp_path):
    folder = tmp_path / "profiles"
    with zipfile.ZipFile(write(model())) as archive:
        archive.extractall(folder)
    assert (abs(read_feeder(folder).y - read_feeder(tmp_path / "model.zip").y)).nnz == 0


def test_voltages_of_a_solution_are_not_needed(write):
    known = read_feeder(write(model()))
    profiles = model()
    del profiles["SV"]
    feeder = read_feeder(write(profiles))
    assert (abs(feeder.y - known.y) > 1e-12).nnz == 0
    assert feeder.source_v == pytest.approx(known.source_v)


def test_limits_of_nothing_are_none(write):
    profiles = model()
    profiles["EQ"] = profiles["EQ"].replace(
        "<cim:CurrentLimit.value>300<", "<cim:CurrentLimit.value>0<"
    )
    assert read_feeder(write(profiles)).elements["rating"].isna().all()


def test_a_model_without_source_is_refused(write):
    profiles = model()
    profiles["SSH"] = profiles["SSH"].replace(
        "referencePriority>1<", "referencePriority>0<"
    )
    with pytest.raises(FeederError, match="referencePriority above 0"):
        load_net(write(profiles))


def test_a_line_between_nominal_voltages_is_refused(write):
    profiles = model()
    profiles["EQ"] += named("BaseVoltage", "bv10", BaseVoltage__nominalVoltage=10)
    profiles["EQ"] += named(
        "VoltageLevel",
        "vl10",
        VoltageLevel__Substation="#_ss",
        VoltageLevel__BaseVoltage="#_bv10",
    )
    place = "ConnectivityNode.ConnectivityNodeContainer rdf:resource"
    head, tail = profiles["EQ"].split('rdf:ID="_node_b"', 1)
    profiles["EQ"] = (
        head
        + 'rdf:ID="_node_b"'
        + tail.replace(f'{place}="#_vl"', f'{place}="#_vl10"', 1)
    )
    with pytest.raises(FeederError, match=r"1 line\(s\) between buses of two nominal"):
        load_net(write(profiles))


def test_buses_without_a_base_voltage_ask_for_the_boundary(write):
    profiles = model()
    profiles["EQ"] = profiles["EQ"].replace(
        'VoltageLevel.BaseVoltage rdf:resource="#_bv"',
        'VoltageLevel.BaseVoltage rdf:resource="#_elsewhere"',
    )
    with pytest.raises(FeederError, match="boundary profiles EQ_BD"):
        load_net(write(profiles))


@pytest.mark.parametrize(
    "other", ["http://iec.ch/TC57/2012/CIM-schema-cim16#", "http://iec.ch/TC57/CIM101#"]
)
def test_other_editions_are_refused_by_name(write, tmp_path, other):
    with zipfile.ZipFile(write(model())) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "old.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text.replace(CIM, other))
    with pytest.raises(FeederError, match=f"classes of {other}; export"):
        load_net(tmp_path / "old.zip")


def test_xml_that_is_none_is_an_error(tmp_path):
    path = tmp_path / "model.xml"
    for text in ("", "<a>", "text", "<a/>"):
        path.write_text(text)
        with pytest.raises(FeederError):
            load_net(path)
