"""Groups and existing units of a study, as tables."""

from types import SimpleNamespace

import pandas as pd
import pytest

from gridsite.config import FleetStudyConfig
from gridsite.config.siting import CentralSection, GroupSection
from gridsite.errors import DataError
from gridsite.study.siting_groups import existing_counts, group_rows, sized_central


def test_pieces_of_a_central_site_share_its_largest_size():
    central = CentralSection(
        site_id="hall",
        lat=0.0,
        lon=0.0,
        capital_per_mw_it=1e7,
        it_capital_per_kw=1.0,
        block_kw=100.0,
        max_it_kw=1000.0,
        scale_exponent=0.9,
        scale_reference_mw=1.0,
        pue=1.2,
        energy_price_per_kwh=0.1,
    )

    class Config(SimpleNamespace):
        def model_copy(self, *, update):
            return Config(**{**vars(self), **update})

    config = Config(central=[central], utilities=[], groups=[], workloads=[])
    pieces = sized_central(config)
    sites = pd.DataFrame(columns=["site_id", "kind", "utility", "feeder_id", "area"])
    table = group_rows(pieces, sites)
    assert len(table) == len(pieces.central) > 1
    assert set(table["max_units"]) == {10}
    assert table["one_site"].all()


def options():
    return pd.DataFrame(
        {
            "site_id": ["b", "b", "c"],
            "unit": "n",
            "port_id": ["p", "q", "r"],
            "max_units": [2, 2, 5],
            "existing_units": 0,
        }
    )


BUILDINGS = pd.Series(["b", "c"])


def standing(*rows, unit="n", central=()):
    return SimpleNamespace(
        existing=[SimpleNamespace(site_id=s, unit=unit, count=n) for s, n in rows],
        central=[SimpleNamespace(site_id=s, place="hall") for s in central],
    )


def test_existing_units_add_up_and_spread_over_connections():
    counts = existing_counts(
        standing(("b", 3), ("c", 1), ("c", 2)), options(), BUILDINGS
    )
    assert counts["existing_units"].tolist() == [2, 1, 3]
    with pytest.raises(DataError, match="5 unit"):
        existing_counts(standing(("b", 5)), options(), BUILDINGS)
    with pytest.raises(DataError, match="3 unit"):
        existing_counts(standing(("b", 2), ("b", 3)), options(), BUILDINGS)
    with pytest.raises(DataError, match="no building or central site is 'x'"):
        existing_counts(standing(("x", 1)), options(), BUILDINGS)


def test_existing_blocks_stand_in_the_largest_size_of_a_hall():
    sizes = ("hall to 1 MW", "hall to 5 MW")
    table = pd.concat([options(), options().head(2).assign(site_id=sizes, port_id="")])
    table = table.reset_index(drop=True)
    config = standing(("hall", 2), unit="block", central=sizes)
    counts = existing_counts(config, table, BUILDINGS)
    assert counts["existing_units"].tolist() == [0, 0, 0, 0, 2]
    with pytest.raises(DataError, match=r'give unit = "block"'):
        existing_counts(standing(("hall", 2), central=sizes), table, BUILDINGS)


def test_a_fleet_passes_over_what_its_feeders_do_not_have(caplog):
    fleet = FleetStudyConfig.model_construct(
        existing=standing(("elsewhere", 1), ("c", 1)).existing,
        central=[],
        utilities=[],
        workloads=[],
        groups=[
            GroupSection(group_id="far", buildings=["elsewhere"], max_units=3),
            GroupSection(group_id="near", buildings=["c"], max_units=3),
        ],
    )
    counts = existing_counts(fleet, options(), BUILDINGS)
    assert counts["existing_units"].tolist() == [0, 0, 1]
    sites = pd.DataFrame(
        {"site_id": ["b", "c"], "kind": "building", "utility": ""}
        | dict.fromkeys(["feeder_id", "area", "transformer"], "")
    )
    assert group_rows(fleet, sites)["group_id"].tolist() == ["near"]
    assert "no site here is 'elsewhere'" in caplog.text
    assert "no site here is in 'far'" in caplog.text
