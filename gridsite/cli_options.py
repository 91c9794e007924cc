"""
What options of ``hosting`` and ``check`` mean, and which of them go together.

Heavy imports stand inside the functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gridsite.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gridsite.feeder.meter_options import MeterOptions
    from gridsite.feeder.model import Feeder
    from gridsite.feeder.taps import TapControl
    from gridsite.hosting.limits import Limits
    from gridsite.rating_together import TogetherChoice

#: Short names of criteria on the command line.
_SHORT = {
    "line": "line current",
    "transformer": "transformer current",
    "ageing": "transformer ageing",
}


def criteria_of(text: str) -> tuple[str, ...]:
    """
    Return criteria by their full names.

    Parameters
    ----------
    text : str
        Names or short names, with commas.

    Returns
    -------
    tuple of str
        As in ``Limits.criteria``.
    """
    names = [name.strip() for name in text.split(",")]
    return tuple(_SHORT.get(name, name) for name in names)


def check_together(
    own: dict[str, Any],
    *,
    service_a: float | None,
    ambient: Path | None,
    snapshot: bool,
    profiles: Path | None,
    ica: str | None,
    battery: tuple[float, float | None],
    seed: int | None,
    load_power_factor: float | None = None,
) -> None:
    """
    Refuse options that need another one, or exclude it.

    Parameters
    ----------
    own : dict
        Values of limits that are given; ``criteria`` by their full names.
    service_a : float or None
        ``--service-a``. [A]
    ambient, profiles : pathlib.Path or None
        ``--ambient`` and ``--profiles``.
    snapshot : bool
        Whether ``--steps snapshot`` is given.
    ica : str or None
        Steps that are not a year's and stand beside ``--ica``.
    battery : tuple of float
        ``--battery-kwh`` and ``--battery-kw``.
    seed : int or None
        ``--seed`` where it means nothing.
    load_power_factor : float or None
        ``--load-power-factor``. [-]

    Raises
    ------
    ConfigError
        With what to change.
    """
    named = own["criteria"] or ()
    for criterion, missing, option in (
        ("service", service_a is None, "--service-a"),
        ("source", own["source_kva"] is None, "--source-kva"),
        ("transformer ageing", ambient is None, "--ambient"),
    ):
        if criterion in named and missing:
            msg = f"--criteria names {criterion}, which needs {option}"
            raise ConfigError(msg)
    for wrong, text in (
        (snapshot and profiles is not None, "--steps snapshot takes no --profiles"),
        (ica is not None, f"--ica takes a whole year; leave out --steps {ica}"),
        (battery[1] is not None and not battery[0], "--battery-kw needs --battery-kwh"),
        (seed is not None, "--seed needs --phase sampled"),
        (
            load_power_factor is not None and profiles is None,
            "--load-power-factor needs --profiles",
        ),
        (
            service_a is not None and not 0.0 < service_a < float("inf"),
            f"--service-a {service_a or 0:g}: give amperes above 0",
        ),
        (
            own["service_rule"] is not None and service_a is None,
            "--service-rule needs --service-a",
        ),
    ):
        if wrong:
            raise ConfigError(text)


def together_choice(
    existing: Path | None, units: Path | None, sharing: str | None, *, joint: bool
) -> TogetherChoice:
    """
    Return what is asked of the connections together.

    Parameters
    ----------
    existing, units : pathlib.Path or None
        Files of units that stand already, and that share the headroom.
    sharing : str or None
        By which rule.
    joint : bool
        Whether joint capacity is wanted.

    Returns
    -------
    TogetherChoice
        As options say.

    Raises
    ------
    ConfigError
        If a rule is given without units, or both files are.
    """
    from gridsite.rating_together import TogetherChoice

    if sharing is not None and units is None:
        msg = "--sharing needs --units"
        raise ConfigError(msg)
    if existing is not None and units is not None:
        msg = (
            "--existing and --units are looked at apart; to share what units that "
            "stand leave, list these first in --units, with --sharing last_in"
        )
        raise ConfigError(msg)
    return TogetherChoice(
        joint=joint,
        existing=None if existing is None else str(existing),
        units=None if units is None else str(units),
        sharing="pro_rata" if sharing is None else str(sharing),
    )


def limits_of(
    preset: str | None, own: dict[str, Any], *, country: str | None = None
) -> Callable[[Feeder], Limits]:
    """
    Return what gives a feeder its limits: a norm, and values that differ.

    Parameters
    ----------
    preset : str or None
        The norm; by the feeder's voltages without it and a country.
    own : dict
        Values of one's own; None where not given.
    country : str, optional
        Two letters, in place of a norm.

    Returns
    -------
    callable
        Takes the feeder.

    Raises
    ------
    ConfigError
        If norm and country are given, one is not known, or a value is out of range.
    """
    from gridsite.hosting.limits import Limits

    own = {k: v for k, v in own.items() if v is not None}
    if preset is not None and country is not None:
        msg = f"--preset {preset} and --country {country}; give one"
        raise ConfigError(msg)

    def norm(levels: list[float]) -> Limits:
        if preset is not None:
            return Limits.preset(preset).changed(**own)
        return Limits.for_network(levels, country=country).changed(**own)

    norm([])  # refused before reading

    def limits(model: Feeder) -> Limits:
        return norm(model.nodes["voltage_kv"].tolist())

    return limits


def tap_control(
    target_pu: float | None, deadband_pu: float | None, *, acting: bool
) -> TapControl | None:
    """
    Return how tap changers act.

    Parameters
    ----------
    target_pu, deadband_pu : float or None
        Voltage wanted, and full width around it. [pu]
    acting : bool
        Whether they do.

    Returns
    -------
    TapControl or None
        None where they stand.

    Raises
    ------
    ConfigError
        If values are given for taps that stand.
    """
    from gridsite.feeder.taps import TapControl

    if acting:
        return TapControl(target_pu=target_pu, deadband_pu=deadband_pu)
    if target_pu is not None or deadband_pu is not None:
        msg = "--tap-target and --tap-deadband need --taps acting"
        raise ConfigError(msg)
    return None


#: Options of a command by the field of `MeterOptions` that they set.
_METER_OPTIONS = {
    "unit": "--meter-unit",
    "zone": "--meter-zone",
    "links": "--meter-links",
    "fill": "--fill",
    "missing": "--draw",
}


def meter_options(profiles: Path | None, options: MeterOptions) -> MeterOptions | None:
    """
    Return how meters are read.

    Parameters
    ----------
    profiles : pathlib.Path or None
        Their file.
    options : MeterOptions
        As given.

    Returns
    -------
    MeterOptions or None
        None where no option says so.

    Raises
    ------
    ConfigError
        If there is no file.
    """
    if options == type(options)():
        return None
    if profiles is None:
        plain = type(options)()
        given = [
            name
            for field, name in _METER_OPTIONS.items()
            if getattr(options, field) != getattr(plain, field)
        ]
        verb = "needs" if len(given) == 1 else "need"
        msg = f"{', '.join(given)} {verb} --profiles"
        raise ConfigError(msg)
    return options


def user_options(
    users: Path | None, column: str | None, per_point: float | None
) -> dict[str, Any]:
    """
    Return how a layer of users is read.

    Parameters
    ----------
    users : pathlib.Path or None
        The layer.
    column : str or None
        Column with the number of users.
    per_point : float or None
        Users of every point. [-]

    Returns
    -------
    dict
        Options of `gridsite.places.place_checks.check_users`.

    Raises
    ------
    ConfigError
        If there is no layer.
    """
    given = {"users_column": column, "users_per_point": per_point}
    given = {name: value for name, value in given.items() if value is not None}
    if given and users is None:
        msg = "--users-column and --users-per-point need --users"
        raise ConfigError(msg)
    return given


def shares_of(text: str | None) -> list[float]:
    """
    Return the shares of a comma-separated text.

    Parameters
    ----------
    text : str or None
        As 0.9,0.8.

    Returns
    -------
    list of float
        Levels. [-]

    Raises
    ------
    ConfigError
        If a part is no number.
    """
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError as error:
        msg = f"--levels {text!r}: give shares such as 0.9,0.8"
        raise ConfigError(msg) from error


def say_assumptions(summary: dict[str, Any], *, most: int | None = None) -> None:
    """
    Print what a run assumed, one line each.

    Parameters
    ----------
    summary : dict
        Content of ``summary.json``.
    most : int, optional
        How many are printed; all without it.
    """
    from rich.console import Console

    from gridsite.report.page import texts
    from gridsite.report.tables import plain_text

    console, told = Console(), texts(summary, "assumptions")
    for text in told[:most]:
        console.print(plain_text(f"assumption: {text}"), soft_wrap=True)
    left = len(told[most:]) if most is not None else 0
    if left:
        console.print(f"{left} more assumptions: summary.json", soft_wrap=True)
