"""The transformer that each customer is behind."""

from __future__ import annotations

import pandapower as pp

from gridsite.feeder.port_transformers import connection_points, transformer_points
from gridsite.feeder.read_pandapower import feeder_from_net, read_feeder


def chain():
    """Return a 110/20/0.4 kV chain with a customer at each of the lower levels."""
    net = pp.create_empty_network()
    buses = [
        pp.create_bus(net, kv, name=name, geodata=(7.9 + i / 1e3, 48.4))
        for i, (kv, name) in enumerate(
            [(110, "top"), (20, "bar"), (20, "mill"), (0.4, "low"), (0.4, "home")]
        )
    ]
    pp.create_ext_grid(net, buses[0])
    pp.create_transformer(net, buses[0], buses[1], "25 MVA 110/20 kV", name="T1")
    pp.create_transformer(net, buses[2], buses[3], "0.25 MVA 20/0.4 kV", name="T2")
    pp.create_line(net, buses[1], buses[2], 1.0, "NA2XS2Y 1x240 RM/25 12/20 kV")
    pp.create_line(net, buses[3], buses[4], 0.1, "NAYY 4x50 SE")
    pp.create_load(net, buses[2], 0.1, name="mill")
    pp.create_load(net, buses[4], 0.01, name="home")
    return feeder_from_net(net, name="chain")


def test_the_last_transformer_on_the_way_counts():
    table = connection_points(chain()).set_index("port_id")
    assert table["transformer"].to_dict() == {"mill": "T1", "home": "T2"}
    assert table["transformer_kva"].to_dict() == {"mill": 25_000.0, "home": 250.0}


def test_a_transformer_stands_where_its_lower_side_is():
    table = transformer_points(chain()).set_index("transformer")
    assert table.geometry.x.round(4).to_dict() == {"T1": 7.901, "T2": 7.903}


def test_feeders_of_opendss(shared):
    read = read_feeder(shared("opendss/ieee13/IEEE13Nodeckt.dss"))
    table = connection_points(read).set_index("port_id")
    # 634 is behind XFM-1 (500 kVA); all others behind the substation (5,000 kVA),
    # although a regulator of 1,666 kVA stands between
    behind = table.groupby("transformer")["bus"].unique()
    assert set(behind["Transformer.xfm1"]) == {"634"}
    assert set(behind.index) == {"Transformer.xfm1", "Transformer.sub"}
    assert table["transformer_kva"].groupby(table["transformer"]).unique().map(
        list
    ).to_dict() == {"Transformer.xfm1": [500.0], "Transformer.sub": [5000.0]}


def test_the_smallest_of_parallel_transformers_counts():
    net = pp.create_empty_network()
    high, low = (pp.create_bus(net, kv) for kv in (20.0, 0.4))
    pp.create_ext_grid(net, high)
    for name, kind in (("small", "0.25"), ("large", "0.63")):
        pp.create_transformer(net, high, low, f"{kind} MVA 20/0.4 kV", name=name)
    pp.create_load(net, low, 0.01, name="home")
    table = connection_points(feeder_from_net(net, name="two"))
    assert table["transformer_kva"].tolist() == [250.0]
    assert table["transformer"].tolist() == ["small"]
