"""Verbs that read one input: what they print, write and draw."""

from __future__ import annotations

import json

import geopandas as gpd
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import shapely

from gridsite.report.input_figures import demand_figure, meters_figure, roofs_figure


def drawn(path):
    """Return whether a picture holds more than white."""
    pixels = matplotlib.image.imread(path)
    return pixels[..., :3].min() < 0.5


def shows(out, *words):
    text = " ".join(out.replace("│", " ").split())
    return all(word in text for word in words)


@pytest.fixture
def folder(make_study, tmp_path):
    """Return a folder with the files of the tiny study."""
    return make_study(tmp_path / "study").parent


def test_roofs(call, folder):
    flood = gpd.read_parquet(folder / "roofs.parquet").iloc[[2]]
    flood.to_file(folder / "flood.gpkg")
    out = folder / "candidates.gpkg"
    command = (
        "roofs",
        folder / "roofs.parquet",
        "--exclude",
        folder / "flood.gpkg",
        "--distance",
        "35",
        "--out",
        out,
    )
    code, shown, err = call(*command)
    assert code == 0, err
    assert shows(shown, "read 8", "filtered 3", "left out: flood within 35 m 3")
    kept = gpd.read_file(out)
    assert kept["building_id"].tolist() == [
        f"house {h}" for h in ("A1", "B1", "B2", "B3", "B4")
    ]
    assert kept["roof_area_m2"].tolist() == pytest.approx([100.0] * 5, rel=0.01)
    assert drawn(out.with_suffix(".png"))
    code, _, err = call(*command)
    assert code == 2
    assert "--overwrite" in err
    assert call(*command, "--overwrite")[0] == 0


def test_roofs_of_one_layer_without_a_reference_system(call, folder):
    roofs = gpd.read_parquet(folder / "roofs.parquet").to_crs(25832)
    bare, path = folder / "bare.gpkg", folder / "roofs.gpkg"
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        roofs.set_crs(None, allow_override=True).to_file(bare, layer="roofs")
    roofs.head(1).to_file(bare, layer="trees")
    roofs.to_file(path)
    names = roofs["building_id"]
    table = pd.DataFrame({"building": names, "use": "shop", "floors": 2})
    table.to_csv(folder / "uses.csv", index=False)
    out = folder / "out.parquet"
    code, _, err = call("roofs", bare, "--out", out)
    assert code == 2
    assert "trees" in err
    layer = ("--layer", "roofs", "--crs", "EPSG:25832")
    uses = ("--attributes", folder / "uses.csv", "--attributes-id", "building")
    code, _, err = call("roofs", bare, *layer, *uses, "--out", out)
    assert code == 0, err
    found = gpd.read_parquet(out)
    assert set(found["use"]) == {"shop"}
    assert found.total_bounds == pytest.approx(roofs.to_crs(4326).total_bounds)
    for wrong, word in ((path, "leave out --crs"), (bare, "no reference system")):
        crs = "EPSG:25832" if wrong == path else "EPSG:1"
        only = ("--layer", "roofs") if wrong == bare else ()
        code, _, err = call(
            "roofs", wrong, *only, "--crs", crs, "--out", out, "--overwrite"
        )
        assert code == 2
        assert word in err


@pytest.mark.parametrize(
    ("option", "needed"),
    [(("--attributes-id", "x"), "--attributes"), (("--distance", "5"), "--exclude")],
)
def test_roofs_refuse_an_option_without_the_one_it_needs(call, folder, option, needed):
    out = folder / "out.parquet"
    code, _, err = call("roofs", folder / "roofs.parquet", *option, "--out", out)
    assert code == 2
    assert f"{option[0]} needs {needed}" in err
    assert not out.exists()


@pytest.mark.parametrize(
    ("verb", "given", "said"),
    [
        ("check", ("--meter-zone", "UTC"), "--meter-zone needs --profiles"),
        (
            "hosting",
            ("--meter-unit", "kW", "--draw"),
            "--meter-unit, --draw need --profiles",
        ),
    ],
)
def test_options_of_meters_without_profiles_are_named(call, folder, verb, given, said):
    out = ("--out", folder / "rated") if verb == "hosting" else ()
    code, _, err = call(verb, folder / "net.json", *given, *out)
    assert code == 2
    assert said in err
    assert "--fill" not in err


def test_demand_of_one_layer(call, folder):
    users = pd.read_csv(folder / "users.csv")
    points = gpd.points_from_xy(users["lon"], users["lat"])
    layer = gpd.GeoDataFrame(users, geometry=points)
    for name in ("people", "other"):
        with pytest.warns(UserWarning, match="'crs' was not provided"):
            layer.to_file(folder / "users.gpkg", layer=name)
    out = folder / "zones.parquet"
    options = ("--layer", "people", "--crs", "EPSG:4326", "--users-per-point", "1")
    code, _, err = call("demand", folder / "users.gpkg", *options, "--out", out)
    assert code == 0, err
    assert gpd.read_parquet(out)["users"].sum() == len(users)


def test_check_reads_meters_and_users_as_it_is_told(call, folder):
    net = folder / "net.json"
    loads = pd.read_csv(folder / "loads.csv")
    loads["time"] = pd.to_datetime(loads["time"], utc=True).dt.tz_localize(None)
    loads.to_csv(folder / "bare.csv", index=False)
    users = pd.read_csv(folder / "users.csv")[["lon", "lat"]]
    users.to_csv(folder / "points.csv", index=False)
    given = ("--profiles", folder / "bare.csv", "--users", folder / "points.csv")
    told = ("--meter-zone", "UTC", "--meter-unit", "kW", "--json", "-")
    code, _, err = call("check", net, *given, *told)
    assert code == 2
    assert "users_per_point" in err
    one = ("--users-per-point", "1")
    code, shown, err = call("check", net, *given, *told, *one)
    assert code == 0, err
    assert json.loads(shown)["counts"]["error"] == 0
    code, shown, _ = call("check", net, *given, *one, "--json", "-")
    assert code == 3
    (error,) = [f for f in json.loads(shown)["findings"] if f["severity"] == "error"]
    assert error["subject"] == "profiles"
    code, _, err = call("check", net, "--users-per-point", "1")
    assert code == 2
    assert "need --users" in err


def test_meters(call, folder):
    wide = pd.read_csv(folder / "loads.csv")
    table = wide.melt("time", var_name="meter", value_name="kwh").drop(index=[5, 6])
    table.to_csv(folder / "ami.csv", index=False)
    out = folder / "kw.parquet"
    code, shown, err = call("meters", folder / "ami.csv", "--out", out)
    assert code == 0, err
    assert shows(shown, "meters 8", "48 of 60 min", "values filled 2", "gap 2 at 1")
    kw = pd.read_parquet(out)
    assert list(kw) == ["time", *wide.columns[1:]]
    np.testing.assert_allclose(kw["B2"], wide["B2"])
    findings = pd.read_parquet(folder / "kw_findings.parquet")
    assert findings["meter"].tolist() == ["A1"]
    assert drawn(out.with_suffix(".png"))
    code, _, err = call(  # what it writes is what hosting reads
        "hosting", folder / "net.json", "--profiles", out, "--out", folder / "out"
    )
    assert code == 0, err


def test_demand(call, folder):
    out = folder / "zones.parquet"
    code, shown, err = call(
        "demand",
        folder / "users.csv",
        "--cell",
        "square",
        "--size-m",
        "50",
        "--it-kw-per-user",
        "0.5",
        "--out",
        out,
    )
    assert code == 0, err
    assert shows(shown, "zones 2", "users 20", "computing power [kW] 10.0")
    zones = gpd.read_parquet(out)
    assert zones["users"].tolist() == [10.0, 10.0]
    assert zones["it_kw"].sum() == pytest.approx(10.0)
    assert drawn(out.with_suffix(".png"))


def test_demand_near_a_place_names_its_source(call, tmp_path):
    out = tmp_path / "near.gpkg"
    code, shown, err = call(
        "demand", "--near", "7.88,48.45,10", "--resolution", "6", "--out", out
    )
    assert code == 0, err
    assert shows(shown, "GeoNames (CC BY 4.0)", "quarters of cities", "(estimate)")
    assert gpd.read_file(out)["users"].sum() > 50_000


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("demand", "--out", "z.gpkg"), "--near"),
        (("demand", "--near", "1,2", "--out", "z.gpkg"), "LONGITUDE"),
        (("demand", "--near", "1,2,3", "--out", "z.csv"), "must end in"),
        (("meters", "no.csv", "--out", "nowhere/z.parquet"), "no such folder"),
        (("meters", "no.csv", "--zone", "Mars", "--out", "z.parquet"), "Mars"),
        (("roofs", "no.gpkg", "--out", "z.gpkg"), "no such file"),
    ],
)
def test_wrong_options_are_one_line(call, tmp_path, monkeypatch, arguments, word):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(*arguments)
    assert code == 2
    assert word in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_names_from_files_are_no_markup(call, folder):
    name = "[bold]x\x1b[31m.parquet"  # a markup tag, a control character
    gpd.read_parquet(folder / "roofs.parquet").to_parquet(folder / name)
    code, shown, err = call("roofs", folder / name, "--out", folder / "o.gpkg")
    assert code == 0, err
    assert "\x1b" not in shown


class TestPictures:
    ZONES = gpd.GeoDataFrame(
        {"users": [1.0, 3.0]},
        geometry=[
            shapely.box(8, 60, 8.01, 60.005),
            shapely.box(8.01, 60, 8.02, 60.005),
        ],
        crs=4326,
    )

    def test_a_map_keeps_the_shape_of_things(self):
        axes = demand_figure(self.ZONES, column="users", unit="users").axes[0]
        # at 60 degrees north a degree of longitude is half as long
        assert axes.get_aspect() == pytest.approx(2.0, rel=1e-3)
        assert "4 users in 2 zones" in axes.get_title()

    def test_roofs_that_stay_are_not_those_that_go(self):
        axes = roofs_figure(self.ZONES.iloc[:1], self.ZONES.iloc[1:]).axes[0]
        assert len(axes.collections) == 2
        assert "1 candidates" in axes.get_title()

    def test_filled_values_show_on_their_day(self):
        time = pd.date_range("2025-01-01", periods=72, freq="h", tz="UTC")
        kw = pd.DataFrame({"a": 1.0, "b": 2.0}, time)
        filled = pd.DataFrame(data=False, index=time, columns=kw.columns)
        filled.iloc[24:36, 0] = True
        _, lower = meters_figure(kw, filled).axes
        line = lower.lines[0]
        assert line.get_ydata().tolist() == [0.0, 25.0, 0.0, 0.0]
        days = np.diff(line.get_xdata()) / np.timedelta64(1, "D")
        assert days.tolist() == [1.0, 1.0, 1.0]  # the last day is seen too


def test_numbers_below_zero_and_folders_are_refused(call, folder):
    out = ("--out", folder / "z.parquet")
    for option in ("--users-per-point", "--it-kw-per-user"):
        code, _, err = call("demand", folder / "users.parquet", option, -1, *out)
        assert (code, err.count("\n")) == (2, 1)
        assert f"{option} -1" in err
    code, _, err = call("meters", folder, *out)
    assert (code, err.count("\n")) == (2, 1)
    assert "is a folder" in err
    (folder / "d.gpkg").mkdir()
    code, _, err = call("demand", "x", "--out", folder / "d.gpkg", "--overwrite")
    assert (code, err.count("\n")) == (2, 1)
    assert "name a file" in err
