import geopandas as gpd
import numpy as np
import pytest
import shapely

from gridsite.errors import CRSError, DataError
from gridsite.places import area_names, read_areas


def squares(layer, **columns):
    """Return four squares of 1 km side around a corner, in another CRS."""
    shapes = [
        shapely.box(x, y, x + 1000.0, y + 1000.0)
        for x, y in ((0, 0), (1000, 0), (0, 1000), (1000, 1000))
    ]
    return layer(shapes, **{"name": ["sw", "se", "nw", "ne"], **columns}, to=3035)


def test_points_lie_where_arithmetic_says_in_every_crs(layer):
    areas = read_areas(squares(layer), name_column="name")
    xy = np.random.default_rng(4).uniform(-300.0, 2300.0, (300, 2))
    names = area_names(layer(shapely.points(xy), to=32632), areas)
    inside = (xy > 0.0).all(axis=1) & (xy < 2000.0).all(axis=1)
    by_hand = np.where(xy[:, 1] < 1000.0, "s", "n").astype(object)
    by_hand += np.where(xy[:, 0] < 1000.0, "w", "e")
    assert names.tolist() == np.where(inside, by_hand, "").tolist()
    assert 0 < inside.sum() < 300


def test_polygons_of_one_name_are_one_area_and_rows_keep_their_index(layer):
    areas = read_areas(squares(layer, name=["a", "b", "a", "c"]), name_column="name")
    assert areas["area"].tolist() == ["a", "b", "c"]
    points = layer(shapely.points([[500, 500], [500, 1500], [1500, 1500]]))
    points.index = [7, 3, 5]
    assert area_names(points, areas).to_dict() == {7: "a", 3: "a", 5: "c"}


def test_a_shape_counts_with_a_point_within_it(layer):
    areas = read_areas(squares(layer), name_column="name")
    shape = shapely.box(100, 100, 1050, 200)  # mostly in the west
    assert area_names(layer([shape]), areas).tolist() == ["sw"]


def test_a_place_on_a_border_takes_the_first_and_one_in_two_areas_is_refused():
    def areas(*boxes):
        shapes = [shapely.box(*b) for b in boxes]
        names = {"name": ["b", "a"]}
        return read_areas(
            gpd.GeoDataFrame(names, geometry=shapes, crs=4326), name_column="name"
        )

    point = gpd.GeoDataFrame(geometry=[shapely.Point(1.0, 0.5)], crs=4326)
    assert area_names(point, areas((0, 0, 1, 1), (1, 0, 2, 1))).tolist() == ["a"]
    with pytest.raises(DataError, match="areas overlap"):
        area_names(point, areas((0, 0, 1.5, 1), (0.5, 0, 2, 1)))


def test_layers_without_names_polygons_or_a_crs_are_refused(layer):
    with pytest.raises(DataError, match="no column 'district'"):
        read_areas(squares(layer), name_column="district")
    with pytest.raises(DataError, match="no name"):
        read_areas(squares(layer, name=["a", None, "b", "c"]), name_column="name")
    with pytest.raises(DataError, match="no polygon"):
        read_areas(layer([shapely.Point(0, 0)], name=["a"]), name_column="name")
    with pytest.raises(CRSError, match="no CRS"):
        read_areas(
            squares(layer).set_crs(None, allow_override=True), name_column="name"
        )
