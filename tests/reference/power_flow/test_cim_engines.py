"""
CIM models of other tools, against the voltages that these tools find.

PowSyBl writes models of its own and solves them; NEPLAN wrote and solved the CIGRE
network of medium voltage that the package cimpy holds.
"""

import re
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from solved_feeder import solved

from gridsite.errors import FeederError
from gridsite.feeder.net_sources import load_net
from gridsite.feeder.read_pandapower import read_feeder

pytest.importorskip("lxml", reason="needs lxml")

#: Ends of the transformer of three windings.
LEVELS = ("HV", "MV", "AUX")

OLD, NEW = (f"http://iec.ch/TC57/{year}/CIM-schema-cim16#" for year in (2012, 2013))


@pytest.fixture(scope="module")
def powsybl():
    """Return PowSyBl's packages of networks and load flow."""
    pytest.importorskip("pypowsybl", reason="needs pypowsybl")
    from pypowsybl import loadflow, network  # noqa: PLC0415

    return network, loadflow


def run(network, loadflow, bus):
    """Solve a network, one source at a bus, every power as it is given."""
    found = loadflow.run_ac(
        network,
        loadflow.Parameters(
            distributed_slack=False,
            use_reactive_limits=False,
            shunt_compensator_voltage_control_on=False,
            transformer_voltage_control_on=False,
            component_mode=loadflow.ComponentMode.ALL_CONNECTED,
            provider_parameters={
                "newtonRaphsonConvEpsPerEq": "1e-10",
                "slackBusSelectionMode": "NAME",
                "slackBusesIds": bus,
            },
        ),
    )
    assert all(part.status.name == "CONVERGED" for part in found)


def frame(columns, *rows):
    return pd.DataFrame(list(rows), columns=columns.split()).set_index("id")


def town(network, *, magnetising=True):
    """
    Return a network of medium voltage, made for these tests.

    Two sources at 110 kV, a regulating transformer off its neutral step, one of three
    windings, switches, a compensator, a photovoltaic plant and a service transformer.
    """
    net = network.create_empty("town")
    net.create_substations(id=["s1", "s2", "s3", "s4"])
    net.create_voltage_levels(
        frame(
            "id substation_id topology_kind nominal_v",
            ("HV", "s1", "BUS_BREAKER", 110.0),
            ("MV", "s1", "BUS_BREAKER", 20.0),
            ("AUX", "s1", "BUS_BREAKER", 10.0),
            ("MV2", "s2", "BUS_BREAKER", 20.0),
            ("MV3", "s3", "BUS_BREAKER", 20.0),
            ("LV", "s3", "BUS_BREAKER", 0.4),
            ("FAR", "s4", "BUS_BREAKER", 20.0),
        )
    )
    net.create_buses(
        frame(
            "id voltage_level_id",
            *(("hv", "HV"), ("mv", "MV"), ("mvb", "MV"), ("aux", "AUX")),
            *(("b2", "MV2"), ("b3", "MV3"), ("b4", "MV3"), ("lv", "LV")),
            *(("far", "FAR"), ("far2", "FAR")),
        )
    )
    net.create_switches(
        frame(
            "id voltage_level_id bus1_id bus2_id kind open retained",
            ("couple", "MV", "mv", "mvb", "BREAKER", False, True),
            ("ring", "MV3", "b3", "b4", "DISCONNECTOR", True, True),
        )
    )
    net.create_generators(
        frame(
            "id voltage_level_id bus_id energy_source min_p max_p target_p target_v "
            "target_q voltage_regulator_on rated_s",
            ("grid", "HV", "hv", "OTHER", -99.0, 99.0, 8.0, 112.0, 0.0, True, 100.0),
            ("isle", "FAR", "far", "OTHER", -9.0, 9.0, 1.0, 20.2, 0.0, True, 10.0),
            ("pv", "MV2", "b2", "SOLAR", 0.0, 2.0, 1.5, 20.0, -0.3, False, 2.0),
        )
    )
    _transformers(net, float(magnetising))
    line = "id voltage_level1_id bus1_id voltage_level2_id bus2_id r x b1 b2 g1 g2"
    net.create_lines(
        frame(
            line,
            ("l12", "MV", "mv", "MV2", "b2", 1.2, 0.8, 1e-4, 1e-4, 0.0, 0.0),
            ("l13", "MV", "mvb", "MV3", "b3", 0.9, 0.7, 2e-4, 2e-4, 0.0, 0.0),
            ("l13b", "MV", "mvb", "MV3", "b3", 0.9, 0.7, 2e-4, 2e-4, 0.0, 0.0),
            ("l24", "MV2", "b2", "MV3", "b4", 2.0, 1.1, 1e-4, 1e-4, 0.0, 0.0),
            ("l5", "FAR", "far", "FAR", "far2", 2.0, 1.1, 1e-4, 1e-4, 0.0, 0.0),
        )
    )
    net.create_loads(
        frame(
            "id voltage_level_id bus_id p0 q0",
            *(("d2", "MV2", "b2", 3.0, 1.0), ("d3", "MV3", "b3", 2.0, 0.5)),
            *(("d4", "MV3", "b4", 1.0, 0.2), ("dl", "LV", "lv", 0.3, 0.1)),
            *(("da", "AUX", "aux", 2.0, 0.9), ("df", "FAR", "far2", 1.5, 0.4)),
        )
    )
    net.create_shunt_compensators(
        frame(
            "id voltage_level_id bus_id model_type section_count",
            ("c4", "MV3", "b4", "LINEAR", 1),
        ),
        linear_model_df=frame(
            "id g_per_section b_per_section max_section_count", ("c4", 0.0, 2e-3, 2)
        ),
    )
    for name in ("grid", "isle"):
        net.create_extensions("referencePriorities", id=name, priority=1)
    return net


def _transformers(net, share):
    """Add transformers, with so much of their magnetising current."""
    net.create_2_windings_transformers(
        frame(
            "id voltage_level1_id bus1_id voltage_level2_id bus2_id rated_u1 rated_u2 "
            "rated_s r x g b",
            *(
                (
                    "t1",
                    "HV",
                    "hv",
                    "MV",
                    "mv",
                    110.0,
                    21.0,
                    25.0,
                    0.08,
                    2.1,
                    3e-05 * share,
                    -0.00015 * share,
                ),
                (
                    "t2",
                    "MV3",
                    "b3",
                    "LV",
                    "lv",
                    20.0,
                    0.4,
                    0.63,
                    0.0024,
                    0.015,
                    0.005 * share,
                    -0.02 * share,
                ),
            ),
        )
    )
    net.create_ratio_tap_changers(
        frame(
            "id target_deadband target_v oltc low_tap tap regulating",
            ("t1", 2.0, 20.0, True, -8, 3, False),
        ),
        frame(
            "id b g r x rho",
            *(
                ("t1", 0.0, 0.0, 0.0, 0.0, 1.0 / (1.0 + 0.0125 * k))
                for k in range(-8, 9)
            ),
        ),
    )
    net.create_3_windings_transformers(
        pd.DataFrame(
            {
                "id": ["t3"],
                "rated_u0": [110.0],
                **{f"voltage_level{k}_id": [v] for k, v in enumerate(LEVELS, 1)},
                **{f"bus{k}_id": [v.lower()] for k, v in enumerate(LEVELS, 1)},
                **{f"rated_u{k}": [v] for k, v in enumerate((110.0, 20.0, 10.0), 1)},
                **{f"rated_s{k}": [25.0] for k in (1, 2, 3)},
                **{f"r{k}": [v] for k, v in enumerate((1.1, 0.9, 1.6), 1)},
                **{f"x{k}": [v] for k, v in enumerate((30.0, 22.0, 41.0), 1)},
                **{f"{name}{k}": [0.0] for name in "gb" for k in (1, 2, 3)},
            }
        ).set_index("id")
    )


def far_from_solution(path):
    """Return what the feeder's voltages are away from those in the file. [pu]"""
    net, feeder = load_net(path), read_feeder(path)
    with zipfile.ZipFile(path) as archive:
        text = "".join(
            archive.read(name).decode("utf-8-sig")
            for name in archive.namelist()
            if name.endswith("SV.xml")
        )
    kv = {
        re.search(r'TopologicalNode rdf:resource="#?([^"]+)"', row)[1]: float(
            re.search(r"SvVoltage\.v>([^<]+)<", row)[1]
        )
        for row in re.findall(r"<cim:SvVoltage .*?</cim:SvVoltage>", text, re.DOTALL)
    }
    bus = net["bus"]
    node = bus["origin_id"].where(bus["origin_id"].isin(list(kv)), bus["cim_topnode"])
    known = (node.map(kv) / bus["vn_kv"]).set_axis(bus["name"])
    found = pd.Series(np.abs(solved(feeder)), feeder.nodes["bus"])
    found = found[~found.index.str.startswith("helper")]  # inside three windings
    away = (found - known.reindex(found.index)).abs()
    assert away.notna().all()
    return away


@pytest.mark.parametrize("edition", ["16", "100"])
@pytest.mark.parametrize(("magnetising", "tolerance"), [(False, 1e-8), (True, 3e-4)])
def test_a_model_of_powsybl_has_its_voltages(
    tmp_path, powsybl, edition, magnetising, tolerance
):
    """PowSyBl has the magnetising branch at one end, pandapower in the middle."""
    network, loadflow = powsybl
    net = town(network, magnetising=magnetising)
    run(net, loadflow, "HV_0")
    path = tmp_path / "town.zip"
    net.save(path, "CGMES", parameters={"iidm.export.cgmes.cim-version": edition})
    away = far_from_solution(path)
    assert len(away) == 9  # of 10 buses a closed switch makes one of two
    assert away.max() < tolerance


@pytest.mark.parametrize(
    "name", ["ieee9", "ieee57", "eurostag_tutorial_example1_network"]
)
def test_models_of_published_networks_have_their_voltages(tmp_path, powsybl, name):
    """The first machine is the source, the others give what they gave before."""
    net = reduced(*powsybl, name)
    net.save(tmp_path / "model.zip", "CGMES")
    assert far_from_solution(tmp_path / "model.zip").max() < 1e-8


def reduced(network, loadflow, name):
    """Return a network of PowSyBl with one machine that holds a voltage, solved."""
    net = getattr(network, f"create_{name}")()
    source = net.get_generators()["bus_id"].iloc[0]
    run(net, loadflow, source)
    rest = net.get_generators().iloc[1:]
    net.update_generators(
        id=rest.index.tolist(),
        target_p=(-rest["p"]).tolist(),
        target_q=(-rest["q"]).tolist(),
        voltage_regulator_on=[False] * len(rest),
    )
    first = net.get_generators().index[0]
    net.create_extensions("referencePriorities", id=first, priority=1)
    run(net, loadflow, source)
    return net


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ieee9", "no external grid"),
        ("four_substations_node_breaker_network", "CsConverter, 2 DCLineSegment"),
        ("micro_grid_be_network", "1 PhaseTapChangerTabular"),
    ],
)
def test_what_models_of_powsybl_hold_beyond_a_feeder_is_named(
    tmp_path, powsybl, name, words
):
    network, _ = powsybl
    getattr(network, f"create_{name}")().save(tmp_path / "model.zip", "CGMES")
    with pytest.raises(FeederError, match=words):
        read_feeder(tmp_path / "model.zip")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ieee14", r"2 line\(s\) between buses of two nominal voltages"),
        ("micro_grid_nl_network", "boundary profiles EQ_BD and TP_BD"),
    ],
)
def test_nominal_voltages_that_mislead_are_refused(tmp_path, powsybl, name, words):
    """Read as they stand, the lines of the first move voltages by 0.34 pu."""
    reduced(*powsybl, name).save(tmp_path / "model.zip", "CGMES")
    with pytest.raises(FeederError, match=words):
        read_feeder(tmp_path / "model.zip")


def test_a_boundary_profile_gives_the_nominal_voltages(tmp_path, powsybl):
    """Tie lines end as injections; PowSyBl puts their charging at one end."""
    path = tmp_path / "model.zip"
    reduced(*powsybl, "micro_grid_nl_network").save(path, "CGMES")
    with zipfile.ZipFile(path, "a") as archive:
        eq, tp = (
            archive.read(next(n for n in archive.namelist() if kind in n)).decode()
            for kind in ("_EQ", "_TP")
        )
        named = set(re.findall(r'BaseVoltage rdf:resource="#([^"]+)"', eq + tp))
        bases = "".join(
            f'<cim:BaseVoltage rdf:ID="{name}"><cim:BaseVoltage.nominalVoltage>'
            f"{kv}</cim:BaseVoltage.nominalVoltage></cim:BaseVoltage>"
            for name, kv in zip(sorted(named), (400.0, 220.0), strict=False)
            if f'BaseVoltage rdf:ID="{name}"' not in eq
        )
        assert bases.count("<cim:BaseVoltage rdf") == 2
        archive.writestr(
            "EQ_BD.xml",
            f'{eq.split("<md:FullModel")[0]}<md:FullModel rdf:about="urn:uuid:bd">'
            "<md:Model.profile>http://entsoe.eu/CIM/EquipmentBoundary/3/1"
            f"</md:Model.profile></md:FullModel>{bases}</rdf:RDF>",
        )
    away = far_from_solution(path)
    inside = ~away.index.str.contains("NODE")
    assert away[inside].max() < 2e-3
    assert away.max() < 5e-3


@pytest.fixture
def neplan(tmp_path):
    """
    Return the CIGRE network of NEPLAN as a model of CGMES 2.4.15.

    It is of the edition before, without a profile of the state: loads are in the
    solution. Data of equipment and topology are left as NEPLAN wrote them.
    """
    found = find_spec("cimpy")
    if found is None:
        pytest.skip("needs the data of cimpy")
    folder = Path(found.submodule_search_locations[0], "examples/sampledata/CIGRE_MV")
    text = {
        kind: next(folder.glob(f"*_{kind}.xml")).read_text("utf-8-sig")
        for kind in ("EQ", "TP", "SV")
    }
    head, end = text["SV"].split("<md:FullModel")[0], "</rdf:RDF>"
    rows = []

    def state(kind, name, **values):
        body = "".join(
            f"<cim:{(key := k.replace('__', '.'))}>{v}</cim:{key}>"
            for k, v in values.items()
        )
        rows.append(f'<cim:{kind} rdf:about="#{name}">{body}</cim:{kind}>')

    pairs = (
        r'<cim:Terminal rdf:ID="([^"]+)">.*?ConductingEquipment rdf:resource="#([^"]+)"'
    )
    owner = dict(re.findall(pairs, text["EQ"], re.DOTALL))
    for terminal in owner:
        state("Terminal", terminal, ACDCTerminal__connected="true")
    flows = r'PowerFlow\.p>([^<]+)<.*?\.q>([^<]+)<.*?Terminal rdf:resource="#([^"]+)"'
    for p, q, terminal in re.findall(flows, text["SV"], re.DOTALL):
        values = {"EnergyConsumer__p": p, "EnergyConsumer__q": q}
        state("EnergyConsumer", owner[terminal], **values)
    state(
        "ExternalNetworkInjection",
        "HV-Netz",
        ExternalNetworkInjection__referencePriority=1,
        RegulatingCondEq__controlEnabled="true",
    )
    state(
        "RegulatingControl",
        "control",
        RegulatingControl__enabled="true",
        RegulatingControl__targetValue=110,
    )
    text["SSH"] = (
        f'{head}<md:FullModel rdf:about="urn:uuid:state"><md:Model.profile>'
        "http://entsoe.eu/CIM/SteadyStateHypothesis/1/1</md:Model.profile>"
        f"</md:FullModel>{''.join(rows)}{end}"
    )
    source = '<cim:ExternalNetworkInjection rdf:ID="HV-Netz">'
    control = '<cim:RegulatingCondEq.RegulatingControl rdf:resource="#control"/>'
    text["EQ"] = text["EQ"].replace(source, source + control)
    text["EQ"] = text["EQ"].replace(
        end,
        '<cim:RegulatingControl rdf:ID="control"><cim:RegulatingControl.mode '
        f'rdf:resource="{NEW}RegulatingControlModeKind.voltage"/>'
        f"</cim:RegulatingControl>{end}",
    )
    path = tmp_path / "cigre.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for kind, body in text.items():
            archive.writestr(f"cigre_{kind}.xml", renewed(body))
    return path


def renewed(text):
    """Return a profile with the names of CGMES 2.4.15."""
    for old, new in {
        OLD: NEW,
        "Terminal.sequenceNumber": "ACDCTerminal.sequenceNumber",
        "iec.ch/TC57/61970-452/Equipment/3": "entsoe.eu/CIM/EquipmentCore/3/1",
        "iec.ch/TC57/61970-456/Topology/3": "entsoe.eu/CIM/Topology/4/1",
        "iec.ch/TC57/61970-456/StateVariables/3": "entsoe.eu/CIM/StateVariables/4/1",
    }.items():
        text = text.replace(old, new)
    return text


def test_the_cigre_network_of_neplan_has_its_voltages(neplan):
    """NEPLAN writes six decimals of a kV."""
    away = far_from_solution(neplan)
    assert len(away) == 15
    assert away.max() < 2e-6
    feeder = read_feeder(neplan)
    assert feeder.load_ports["p_kw"].sum() == pytest.approx(44891.0)
    lines = feeder.elements["kind"] == "line"
    assert feeder.elements["rating"][lines].isna().all()  # limits of 0 A


def test_the_edition_of_neplan_itself_is_refused():
    found = find_spec("cimpy")
    if found is None:
        pytest.skip("needs the data of cimpy")
    folder = Path(found.submodule_search_locations[0], "examples/sampledata/CIGRE_MV")
    with pytest.raises(FeederError, match=f"classes of {OLD}; export the model as"):
        read_feeder(folder)


def test_breakers_of_powerfactory_are_carried():
    """The grid of cimpy has lines and breakers, but no source."""
    found = find_spec("cimpy")
    if found is None:
        pytest.skip("needs the data of cimpy")
    folder = Path(found.submodule_search_locations[0], "examples/sampledata")
    with pytest.raises(FeederError, match="no external grid"):
        read_feeder(folder / "Sample_Grid_Switches/Bus-Branch")
