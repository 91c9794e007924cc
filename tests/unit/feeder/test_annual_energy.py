"""Annual energies from a table, and refused ones by name."""

import pandas as pd
import pytest

from gridsite.errors import DataError
from gridsite.feeder.annual_energy import annual_energy


def table(ports=("a", "b"), energies=(2500.0, 3000.0)):
    return pd.DataFrame({"port_id": list(ports), "annual_kwh": list(energies)})


def test_energies_by_name():
    assert annual_energy(table(), "t").to_dict() == {"a": 2500.0, "b": 3000.0}
    text = table(energies=("2500", "3e3")).assign(dwellings="1")
    assert annual_energy(text, "t").to_dict() == {"a": 2500.0, "b": 3000.0}


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (table().drop(columns="annual_kwh"), "t: column 'annual_kwh' is missing"),
        (table(ports=("a", "a")), "'a' is empty or stands twice"),
        (table(ports=("a", None)), "None is empty"),
        (table(energies=(1.0, float("nan"))), "of 'b' is nan"),
        (table(energies=(0.0, 1.0)), "of 'a' is 0"),
        (table(energies=(-1.0, 1.0)), "of 'a' is -1"),
        (table(energies=("much", "1")), "of 'a' is 'much'"),
        (table(energies=(float("inf"), 1.0)), "of 'a' is inf"),
    ],
)
def test_what_is_wrong_is_named(broken, words):
    with pytest.raises(DataError, match=words):
        annual_energy(broken, "t")
