"""The habits of the house that ruff, mypy and import-linter cannot hold."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import defaultdict

import pytest

from tests.house import reading
from tests.house.reading import ROOT, SOURCE, modules, named, texts

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LONGEST = 400  # lines in a file
VAGUE = {"utils", "util", "helpers", "helper", "common", "core", "misc"}

# One file each, so that a tool can be replaced, and its absence explained, in one place.
HEAVY = [
    *("alkaid", "botorch", "fastjet", "h5py", "jinja2", "matplotlib", "onnx"),
    *("onnxruntime", "pyarrow", "pydantic", "pythia8mc", "qonnx", "ray", "torch.export"),
    "torch.utils.tensorboard",
]

# Modules that work on integers alone, for machines and readers without torch.
WITHOUT_TORCH = ["errors.py", "registry.py", "numerics/grid.py", "numerics/rounding.py"]
WITHOUT_TORCH += [name for name in modules() if name.startswith(("ir/", "backends/"))]

# What `import pareq` must not load: all that torch itself does not need.
LAZY = {"h5py", "jinja2", "matplotlib", "onnx", "onnxruntime", "pandas", "pyarrow", "pydantic"}
LAZY |= {"pythia8mc", "rich", "scipy", "sklearn", "tensorboard", "typer"}

# Brackets keep this file from meeting its own patterns.
FOREIGN = {
    "a path of one machine": r"(?<![\w.])/(?:[w]ork|[f]arm|[r]oot|[h]ome/\w+|opt/[w]heels)/",
    "a folder outside the project": r"\.\./[s]hared\b",
    "the host of a package registry": r"[p]ypi\.org|[p]ythonhosted|[d]ownload\.pytorch",
    "who typed it": r"(?i)\b[l]anguage model\b|\bassis[t]ants?\b|\bcha[t]bot\b|\bsub-?[a]gents?\b"
    r"|\bteam [s]heet\b|\bthe [l]ead\b|\bco-[a]uthored-by\b",
    "unfinished work": r"\b(?:TO[D]O|FIX[M]E|XX[X])\b",
}


def test_no_file_is_longer_than_a_person_reads_at_once():
    """One concept a file: beyond 400 lines there are two."""
    lengths = {
        named(path): len(path.read_text().splitlines())
        for path in reading.files()
        if path.suffix == ".py"
    }
    assert lengths
    assert {name: n for name, n in lengths.items() if n > LONGEST} == {}


def test_names_say_what_is_inside():
    """A folder called utils collects what nobody placed."""
    vague = [named(p) for p in reading.files() if VAGUE & {p.stem, *p.relative_to(ROOT).parts[:-1]}]
    assert vague == []


@pytest.mark.parametrize("tool", HEAVY)
def test_a_heavy_tool_is_imported_in_one_file(tool):
    """Also inside functions."""
    where = [
        name
        for name, tree in modules().items()
        if any(f"{full}.".startswith(f"{tool}.") for full in reading.imports(tree))
    ]
    assert len(where) <= 1, f"{tool} is imported in {', '.join(where)}; keep it in one file"


def test_scikit_learn_stays_with_tasks_and_their_metrics():
    """It is an extra of those two folders."""
    outside = [
        name
        for name, tree in modules().items()
        if not name.startswith(("tasks/", "metrics/"))
        and any(full.split(".")[0] == "sklearn" for full in reading.imports(tree))
    ]
    assert outside == []


def test_typer_stays_with_the_commands():
    """Each group of commands has its file in cli/; the library below knows nothing of typer."""
    outside = [
        name
        for name, tree in modules().items()
        if not name.startswith("cli/")
        and any(full.split(".")[0] == "typer" for full in reading.imports(tree))
    ]
    assert outside == []


def test_extras_are_imported_where_they_are_used():
    """At the top of a file only the standard library and what every installation has."""
    needed = {re.split(r"[^\w-]", d)[0].lower() for d in PROJECT["project"]["dependencies"]}
    known = {*sys.stdlib_module_names, *needed, "pareq"}
    early = [
        (name, full)
        for name, tree in modules().items()
        for full in reading.at_import(tree)
        if full.split(".")[0] not in known
    ]
    assert early == []


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_integers_need_no_torch(name):
    """Neither at the top of the file nor inside a function."""
    tops = {full.split(".")[0] for full in reading.imports(modules()[name])}
    assert "torch" not in tops


def test_the_library_does_not_print():
    """A noqa would silence ruff; the rule stays."""
    prints = [
        f"{name}:{node.lineno}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "pprint.pprint"}
    ]
    assert prints == []


def test_signatures_are_complete():
    """No **kwargs that swallow a misspelt name, no Any that hides a type.

    The command line is called from a shell, and overrides methods as typer declares them.
    """
    loose = [
        f"{name}:{function.lineno} {function.name}"
        for name, tree in modules().items()
        if not name.startswith("cli/")
        for function in reading.public_functions(tree)
        if function.args.kwarg is not None
        or any("Any" in re.findall(r"\w+", ast.unparse(a)) for a in reading.annotations(function))
    ]
    assert loose == []


@pytest.mark.parametrize("what", FOREIGN)
def test_files_are_fit_for_strangers(what):
    """Nothing that only its author can reach or understand."""
    found = [
        f"{name}:{number}: {line.strip()[:80]}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(FOREIGN[what], line)
    ]
    assert found == []


def test_public_names_exist_and_explain_themselves():
    """`pareq.__all__` is the table of contents; every entry loads and has a docstring."""
    import pareq

    assert pareq.__all__
    mute = []
    for name in pareq.__all__:
        thing = getattr(pareq, name)
        text = thing.__doc__ or ""
        generated = text.startswith(f"{name}(")  # what dataclass writes where nothing is written
        if callable(thing) and (not text.strip() or generated):
            mute.append(name)
    assert mute == []


def test_no_folder_hides_a_public_name():
    """`pareq.attach` is the function, also once the folder of that name has been imported."""
    program = (
        "import importlib, pkgutil, types, pareq;"
        "[importlib.import_module(m.name) for m in pkgutil.iter_modules(pareq.__path__, 'pareq.')];"
        "hidden = [n for n in pareq.__all__ if isinstance(getattr(pareq, n), types.ModuleType)];"
        "print(*hidden)"
    )
    assert _python(program).split() == []


def test_every_listed_name_is_defined_and_documented():
    """Each module's `__all__`: what it lists, it has; what it defines there has a docstring."""
    wrong = []
    for module, tree in modules().items():
        listed = _listed(tree)
        for node in tree.body:
            if isinstance(node, (*reading.FUNCTIONS, ast.ClassDef)):
                silent = node.name in listed and not ast.get_docstring(node)
                wrong += [f"{module}: {node.name} has no docstring"] if silent else []
        if module != "__init__.py":  # its names are loaded at first use; tested above
            wrong += [f"{module}: {name} is not defined" for name in listed - _defined(tree)]
    assert wrong == []


def _listed(tree: ast.Module) -> set[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            entries = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else []
            return {e.value for e in entries if isinstance(e, ast.Constant)}
    return set()


def _defined(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (*reading.FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        else:
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return names


def test_the_tree_of_errors_is_drawn_as_it_is():
    """errors.py opens with a picture of its classes."""
    from pareq import errors

    depth_of = {name: indent for indent, name in _drawn(errors.__doc__)}
    drawn = dict(zip(depth_of, _parents(list(depth_of.items())), strict=True))
    real = {
        name: thing.__mro__[1].__name__
        for name, thing in vars(errors).items()
        if isinstance(thing, type) and issubclass(thing, errors.PareqError)
    }
    assert drawn | {"PareqError": "Exception"} == real


def _drawn(picture: str) -> list[tuple[int, str]]:
    """(indent, class) of each line of the picture."""
    lines = re.findall(r"^( *(?:[│├└─ ]*))([A-Z]\w+)(?: {2,}.*)?$", picture, flags=re.MULTILINE)
    return [(len(indent), name) for indent, name in lines]


def _parents(entries: list[tuple[str, int]]) -> list[str]:
    parents, above = [], [("Exception", -1)]
    for name, indent in entries:
        while above[-1][1] >= indent:
            above.pop()
        parents.append(above[-1][0])
        above.append((name, indent))
    return parents


def test_importing_pareq_loads_nothing_heavy():
    """`import pareq` costs what torch costs and no more; the rest loads at first use."""
    program = (
        "import sys, time, torch; before = time.perf_counter(); import pareq;"
        "print(time.perf_counter() - before);"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    seconds, loaded = _python(program).splitlines()
    assert LAZY & set(loaded.split()) == LAZY & set(_python(_WITH_TORCH).split())
    assert float(seconds) < 0.5


_WITH_TORCH = "import sys, torch; print(*{name.split('.')[0] for name in sys.modules})"


def _python(program: str) -> str:
    """What a fresh interpreter prints, without coverage in it."""
    command = [sys.executable, "-I", "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, env={})
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_tests_mirror_the_source():
    """tests/FOLDER belongs to src/pareq/FOLDER, but for what concerns the whole house."""
    whole = {"conformance", "docs", "house"}
    folders = {p.relative_to(ROOT / "tests").parts[0] for p in (ROOT / "tests").rglob("test_*.py")}
    folders = {f for f in folders if not f.endswith(".py")}
    homes = {p.name for p in SOURCE.iterdir() if p.is_dir()} | {p.stem for p in SOURCE.glob("*.py")}
    assert folders - homes - whole == set()


def test_slow_tests_are_all_that_the_default_leaves_out():
    """No other marker hides a test."""
    markers = [m.split(":")[0] for m in PROJECT["tool"]["pytest"]["ini_options"]["markers"]]
    assert markers == ["slow"]


def test_each_extra_that_an_error_names_exists():
    """MissingExtra("package", "extra") ends in a command that works."""
    extras = PROJECT["project"]["optional-dependencies"]
    named_in = defaultdict(set)
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("MissingExtra"):
                given = [a.value for a in node.args[1:] if isinstance(a, ast.Constant)]
                named_in[name].update(map(str, given))
    unknown = {name: used - set(extras) for name, used in named_in.items() if used - set(extras)}
    assert unknown == {}
