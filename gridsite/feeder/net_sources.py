"""
Load a pandapower network from a file or by name, as filed.

Files are from elsewhere: sizes and classes are checked before pandapower reads.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandapower as pp
import pandas as pd
from pandapower import networks
from pandapower.io_utils import from_dict_of_dfs

from gridsite.errors import ConfigError, DataError, FeederError
from gridsite.feeder.cim import read_cim
from gridsite.feeder.matpower import read_matpower
from gridsite.feeder.pandapower_json import check_cells, check_json
from gridsite.untrusted import check_archive

if TYPE_CHECKING:
    from collections.abc import Callable


def load_net(source: str | Path) -> Any:  # noqa: ANN401
    """
    Load a pandapower network by name or from a file.

    Parameters
    ----------
    source : str or pathlib.Path
        As in `read_feeder`.

    Returns
    -------
    pandapower.auxiliary.pandapowerNet
        The network as filed.

    Raises
    ------
    ConfigError
        If the name or file is unknown, or an extra is missing.
    """
    text = str(source)
    if text.startswith("pandapower:"):
        return _named_net(text.removeprefix("pandapower:"))
    if text.startswith("simbench:"):
        return _simbench_net(text.removeprefix("simbench:"))
    path = Path(source)
    if path.is_dir() and any(path.glob("*.[xX][mM][lL]")):
        return read_cim(path)
    if not path.is_file():
        msg = (
            f"feeder {text!r} is neither a file nor a name; give a .json, .xlsx, "
            ".dss, .m or .zip path, pandapower:NAME or simbench:CODE"
        )
        raise ConfigError(msg)
    return _net_from_file(path)


def _net_from_file(path: Path) -> Any:  # noqa: ANN401
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        msg = (
            f"{path}: files of type {path.suffix or 'none'!r} are not read; "
            "use pandapower .json or .xlsx, MATPOWER .m, CIM .zip or OpenDSS .dss "
            "(pickles can run code and are refused)"
        )
        raise ConfigError(msg)
    try:
        net = reader(path)
        if "bus" not in net:
            raise KeyError("bus")  # noqa: TRY301
    except (ConfigError, DataError):
        raise
    except ImportError as error:
        msg = f"{path}: reading .xlsx needs openpyxl; pip install 'gridsite[excel]'"
        raise ConfigError(msg) from error
    except Exception as error:
        msg = f"{path}: not a pandapower network ({error}); save it with pandapower"
        raise FeederError(msg) from error
    return net


def _from_json(path: Path) -> Any:  # noqa: ANN401
    check_json(path)
    return pp.from_json(str(path))


def _from_excel(path: Path) -> Any:  # noqa: ANN401
    check_archive(path)
    sheets = pd.read_excel(path, sheet_name=None, index_col=0, engine="openpyxl")
    for sheet, table in sheets.items():
        for column in table.select_dtypes(object):
            check_cells(table[column], f"{path}, sheet {sheet}")
    net = from_dict_of_dfs(sheets)
    pp.convert_format(net)
    return net


_READERS: dict[str, Callable[[Path], Any]] = {
    ".json": _from_json,
    ".m": read_matpower,
    ".xml": read_cim,
    ".zip": read_cim,
    ".xlsx": _from_excel,
}


def _named_net(name: str) -> Any:  # noqa: ANN401
    maker = getattr(networks, name, None)
    if not name.isidentifier() or not callable(maker):
        close = [n for n in dir(networks) if name.lower()[:5] in n.lower()][:5]
        like = f"similar: {close}" if close else "see pandapower.networks"
        msg = f"pandapower has no network called {name!r}; {like}"
        raise ConfigError(msg)
    state = random.getstate()
    random.seed(0)  # some networks are drawn at random: make them the same each time
    try:
        net = maker()
    except TypeError:
        net = None
    finally:
        random.setstate(state)
    if not isinstance(net, pp.pandapowerNet):
        msg = f"pandapower:{name} is not a network; give a network of its own"
        raise ConfigError(msg)
    return net


def _simbench_net(code: str) -> Any:  # noqa: ANN401
    try:
        import simbench  # noqa: PLC0415 - optional
    except ImportError as error:
        msg = f"simbench:{code} needs SimBench; pip install 'gridsite[simbench]'"
        raise ConfigError(msg) from error
    try:
        return simbench.get_simbench_net(code)
    except Exception as error:
        msg = f"SimBench has no grid {code!r}; for example 1-LV-rural3--0-sw"
        raise ConfigError(msg) from error
