"""
The catalogue of checks on a feeder: ranges, severities, words, and findings.

Conductor resistance is judged by IEC 60228, plus 25 % for a hot conductor (12.1
ohm/km at 1.5 mm2, 0.0072 ohm/km at 2500 mm2). The other ranges are assumptions:
wide enough for any feeder in service, narrow enough to catch a slip of unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    from numpy.typing import NDArray

#: Severities, gravest first: no result, a doubtful result, worth knowing.
SEVERITIES = ("error", "warning", "note")

#: Resistance and reactance of one circuit. [ohm/km]
LINE_OHM_PER_KM = {"r_ohm_per_km": (0.007, 15.0), "x_ohm_per_km": (0.01, 2.0)}

#: Shortest line, and longest below and from 1 kV. [km]
LINE_KM = (1e-3, 5.0, 50.0)

#: Short-circuit voltage of a transformer. [%]
VK_PERCENT = (2.0, 20.0)

#: Largest rated current that is no placeholder. [kA]
RATED_KA_MAX = 10.0

#: Largest difference of the ratios of transformers side by side. [-]
RATIO_SPREAD = 0.005

#: Largest difference of filed results from the base case. [pu]
RESULT_OFF_PU = 1e-3

#: Smallest load, and largest below 1 kV: what a large distribution transformer
#: carries. [kW]
LOAD_KW = (1e-3, 2.5e3)

#: A vector group in the letters of IEC 60076-1, and its clock number, if any.
VECTOR_GROUP = r"^[ydzi]n?[ydzi]n?(\d{0,2})$"

#: Largest distance of a rated or nominal voltage from the other. [-]
VOLTAGE_OFF = 0.1

#: Distance between the ends over the length: median over a feeder's lines. [-]
DISTANCE_OVER_LENGTH = (0.5, 2.0)

#: A bus is far from the middle beyond this, and beyond so many median distances.
FAR_KM, FAR_MEDIANS = 5.0, 20.0

#: Swapped positions: lines needed, and how much closer the ratios then lie.
SWAP_LINES, SWAP_SPREAD = 20, 0.7

#: Sources that all stand below this voltage are a planner's worst case. [pu]
LOW_SOURCE_PU = 0.97

#: By check: severity, what is wrong (after "3 of 40"), and what to do.
CHECKS = {
    "numbers": (
        "error",
        "cells hold no number, or none above 0 where there must be one",
        "enter plain numbers in kV, km, ohm/km, MVA, %, MW and Mvar",
    ),
    "buses": (
        "error",
        "ends of elements stand at a bus that is not in the bus table",
        "add the bus, or take the element out",
    ),
    "names": (
        "warning",
        "names stand at more than one row of their table",
        (
            "give each bus, line, transformer and load its own name: profiles go by "
            "name, and results of a table with a double name go by row number"
        ),
    ),
    "nominal voltage": (
        "error",
        (
            f"lines and transformers are over {VOLTAGE_OFF:.0%} off the nominal "
            "voltage of a bus at their ends"
        ),
        "correct the nominal voltage of the bus or the rated voltage: one is wrong",
    ),
    "short lines": (
        "note",
        f"lines are shorter than {1e3 * LINE_KM[0]:g} m",
        "enter the true length; lines of no length are taken as closed switches",
    ),
    "long lines": (
        "warning",
        f"lines are longer than {LINE_KM[1]:g} km below 1 kV, {LINE_KM[2]:g} km above",
        "enter the length in km, not in m or ft",
    ),
    "line impedance": (
        "warning",
        "lines have a resistance outside {:g} to {:g} or a reactance outside {:g} to "
        "{:g} ohm/km".format(*sum(LINE_OHM_PER_KM.values(), ())),
        "enter ohm per km of one circuit: not the total, not per unit",
    ),
    "rating missing": (
        "warning",
        "lines and transformers in service have no rating",
        (
            "enter rated current or kVA, or run with --ratings FILE or --assume-line-a "
            "(in a study [feeder] ratings, assume_line_a): what they feed is unrated "
            "until then"
        ),
    ),
    "rating absurd": (
        "error",
        f"lines and transformers are rated at 0 or above {RATED_KA_MAX:g} kA",
        "enter the rated current in kA, or leave it empty if nobody knows it",
    ),
    "transformer impedance": (
        "warning",
        "transformers have a short-circuit voltage outside {:g} to {:g} %, or a "
        "resistive part below 0 or above it".format(*VK_PERCENT),
        "copy uk and ukr from the nameplate, on the rated kVA that is filed",
    ),
    "vector group": (
        "note",
        "transformers have no vector group",
        "balanced results do without; fill it in before any single-phase study",
    ),
    "vector group unknown": (
        "warning",
        "transformers have a vector group that is none",
        "name the windings, with a clock number or without: Dyn5, YNyn0, Yzn5",
    ),
    "vector group angle": (
        "note",
        "transformers have a clock number that is not their phase shift",
        "set shift_degree to 30 degrees times the clock number; the shift counts",
    ),
    "tap type": (
        "note",
        "transformers have a tap changer without a type",
        "it is taken as a ratio tap; set tap_changer_type if it is not one",
    ),
    "parallel transformers": (
        "warning",
        (
            f"transformers side by side differ in ratio by over {RATIO_SPREAD:.1%}, "
            "which drives current round between them"
        ),
        (
            "set the same taps; regulators of single phases, converted to transformers "
            "side by side, need the three-phase file they came from"
        ),
    ),
    "filed results": (
        "warning",
        (
            f"buses have a result in the file that is over {RESULT_OFF_PU:g} pu off "
            "the base case"
        ),
        (
            "compare with the tool the file came from: a power flow that converges "
            "is not proof that a conversion is right"
        ),
    ),
    "tap position": (
        "warning",
        "transformers stand at a tap outside their range",
        "set tap_pos between tap_min and tap_max",
    ),
    "negative load": (
        "warning",
        "loads draw less than 0 kW",
        "file generation as sgen: a negative load counts as relief in every hour",
    ),
    "load size": (
        "warning",
        (
            f"loads are below {1e3 * LOAD_KW[0]:g} W, or above "
            f"{1e-3 * LOAD_KW[1]:g} MW on low voltage"
        ),
        "enter MW: these look like kW or GW in a column of MW",
    ),
    "power factor": (
        "warning",
        "loads draw more reactive than active power",
        "check p_mw and q_mvar: a customer's power factor is rarely below 0.7",
    ),
    "voltage-dependent loads": (
        "note",
        "loads depend on voltage",
        "they follow their voltage as filed (constant power in three-phase models)",
    ),
    "controllers": (
        "note",
        "controllers are in service and are ignored",
        "taps and set points stay as filed: set them to what the control would do",
    ),
    "coordinates missing": (
        "note",
        "buses have no coordinates",
        "add longitude and latitude: without, no map and no matching of buildings",
    ),
    "coordinates": (
        "warning",
        "buses are off the globe (metres or feet, or latitude before longitude)",
        "give longitude, then latitude, in degrees (EPSG:4326)",
    ),
    "far away": (
        "warning",
        "buses lie far from the middle of the feeder",
        "correct their coordinates; 0, 0 is a placeholder, not a place",
    ),
    "source voltage": (
        "warning",
        "sources stand at a voltage outside the band",
        "set vm_pu of the external grid to the voltage that the substation holds",
    ),
}
#: Reactance above which a regulator, and any other transformer, is doubtful. [%]
REACTANCE_PERCENT = (2.0, 20.0)

#: Checks of OpenDSS circuits: the same three texts, by check.
OPENDSS_CHECKS = {
    "left out": (
        "note",
        "commands of the script are left out: reports, solutions, settings of a run",
        "none needed: gridsite solves the circuit itself",
    ),
    "voltage base": (
        "error",
        "windings have a rated voltage that does not fit the base of their bus",
        (
            "give every voltage level in Set VoltageBases, the low voltage too, and "
            "call CalcVoltageBases after the last element"
        ),
    ),
    "load voltage": (
        "warning",
        "loads have a rated voltage that does not fit the base of their bus",
        (
            "kV is line to line for two and three phases, of both legs for a "
            "split-phase load, else to neutral"
        ),
    ),
    "phases": (
        "note",
        (
            "lines carry one or two phases and are solved by phase (a balanced reading "
            "would show a third to two thirds of their loading)"
        ),
        "none needed; do not convert the file through a balanced importer",
    ),
    "split phase": (
        "note",
        "transformers are centre-tapped: their loads stand on legs 1 and 2",
        "none needed: a three-phase unit does not fit there",
    ),
    "neutral nodes": (
        "note",
        "nodes carry a neutral, near 0 V",
        "none needed: no voltage limit covers them",
    ),
    "default ampacity": (
        "warning",
        (
            "lines are rated at the 400 A that OpenDSS takes where a file says "
            "nothing; without an ampacity of their own they are unrated"
        ),
        (
            "enter NormAmps of lines or line codes, or run with --ratings FILE or "
            "--assume-line-a (in a study [feeder] ratings, assume_line_a): what they "
            "feed is unrated until then"
        ),
    ),
    "reactance": (
        "warning",
        "transformers have a reactance of 0 or less, above {1:g} %, or above {0:g} % "
        "with the same voltage at both sides (a regulator)".format(*REACTANCE_PERCENT),
        (
            "give XHL on the kVA that is filed; of a regulator that is the power it "
            "passes, not the power it regulates"
        ),
    ),
    "coordinates: degrees": (
        "note",
        "coordinates are longitude and latitude",
        "none needed",
    ),
    "coordinates: swapped": (
        "warning",
        "coordinates are latitude, then longitude",
        "swap the two columns",
    ),
    "coordinates: metres": (
        "warning",
        "coordinates are to scale in metres, of no named place",
        "name their reference system, such as EPSG:27700 for the British grid",
    ),
    "coordinates: feet": (
        "warning",
        "coordinates are to scale in feet, of no named place",
        "name their reference system: a state plane, if the place is real",
    ),
    "coordinates: kilometres": (
        "warning",
        "coordinates are to scale in kilometres, of no named place",
        "give longitude and latitude, or name their reference system",
    ),
    "coordinates: drawing": (
        "warning",
        "coordinates are a drawing, not to scale",
        "none: without real positions there is no map and no matching of buildings",
    ),
}
_SHOWN = 3

#: Unit of a value that is the number of elements concerned.
COUNT = "count"


class Finding(NamedTuple):
    """One row of the table that `gridsite.feeder.checks.check_feeder` returns."""

    severity: str
    check: str
    element: str
    value: float
    message: str
    cure: str
    unit: str = COUNT


def first_of(labels: list[Any]) -> str:
    """
    Return the first three of some labels.

    Parameters
    ----------
    labels : list
        Names.

    Returns
    -------
    str
        With commas.
    """
    return ", ".join(str(label) for label in labels[:3])


def flag(
    check: str,
    rows: pd.DataFrame,
    bad: pd.Series[bool] | NDArray[np.bool_] | list[bool],
    shown: pd.Series[Any] | None = None,
    *,
    words: Mapping[str, tuple[str, str, str]] = CHECKS,
) -> Iterator[Finding]:
    """
    Yield one finding for all the bad rows, if there are any.

    Parameters
    ----------
    check : str
        Which check, of ``words``.
    rows : pandas.DataFrame
        Everything that was checked, with its ``label``.
    bad : array of bool, shape (n_row,)
        Which rows are at fault.
    shown : pandas.Series of str, optional
        What to show of a row beside its label.
    words : mapping, default `CHECKS`
        Severity, what is wrong and the cure, by check.

    Yields
    ------
    Finding
        With the number of labels at fault as its value.
    """
    severity, what, cure = words[check]
    text = rows["label"] if shown is None else rows["label"] + " (" + shown + ")"
    hit = rows.assign(text=text)[np.asarray(bad, dtype=bool)].drop_duplicates("label")
    if len(hit):
        first = "; ".join(hit["text"].head(_SHOWN)) + "; ..." * (len(hit) > _SHOWN)
        message = f"{len(hit)} of {rows['label'].nunique()} {what}: {first}"
        elements = ", ".join(hit["label"].head(_SHOWN))
        yield Finding(severity, check, elements, len(hit), message, cure)
