"""ask/registry.py: a question is one module, found by being there."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from firsthand.ask import questions, registry
from tests.golden import before

#: A question that nobody else knows of: how many programs of one name ran.
TOY = '''
"""`toy`: how often a program ran."""
from firsthand.ask.answer import Asked, Found, cut
from firsthand.ask.question import Question

NEEDS = ("process",)

def toy(asked: Asked) -> Found:
    where, values = asked.where()
    rows = asked.rows(f"SELECT exe, count(*) AS times FROM process WHERE event = 'exec' AND {where} GROUP BY exe ORDER BY ALL", values)
    return Found(f"{len(rows)} programs", cut(rows, asked.limit), len(rows), ["exe", "times"])

QUESTIONS = {"toy": Question("how often each program ran", "", toy, NEEDS)}
'''


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A folder with the module, beside those of the questions."""
    (tmp_path / "toy.py").write_text(TOY)
    return tmp_path


def test_a_question_is_one_module(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a module more is a question more, behind the others where it says no rank; the others stay in their order."""
    others = [*registry.QUESTIONS]
    monkeypatch.setattr(questions, "__path__", [*questions.__path__, str(toy)])
    assert [*registry._all()] == [*others, "toy"]


def test_a_question_of_its_modules_name_imports_no_other() -> None:
    """Law: a question costs what it needs: those of other modules are imported where they are asked for, or all are wanted."""
    program = textwrap.dedent(
        """
        import sys
        from firsthand.ask.registry import QUESTIONS
        def there(name):
            return f"firsthand.ask.questions.{name}" in sys.modules
        assert QUESTIONS["talkers"].rank and there("talkers") and not there("beacons")
        assert QUESTIONS["map"].draws and "no such" not in QUESTIONS and there("beacons")
        assert QUESTIONS["talkers"] is dict(QUESTIONS)["talkers"]
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_line_knows_it(toy: Path, tmp_path: Path) -> None:
    """Law: nothing else is to be changed: it is in the help, is answered with its evidence, and is narrowed as others are."""
    history = before.unpack(tmp_path / "history")
    program = textwrap.dedent(
        f"""
        from firsthand.ask import questions
        questions.__path__.append({str(toy)!r})
        from firsthand.cli.main import main
        main()
        """
    )

    def said(*words: str) -> str:
        command = [sys.executable, "-c", program, "ask", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    listed = said()
    assert "toy" in listed and "how often each program ran" in listed
    whole = said("toy", "--history", str(history))
    narrowed = said("toy", "--history", str(history), "--pod", "db-0")
    assert "/usr/bin/curl" in whole and "evidence" in whole
    assert "/usr/bin/postgres" in narrowed and "/usr/bin/curl" not in narrowed


def test_names_are_unique(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: two modules with a question of one name are refused, by both names."""
    (toy / "toy.py").write_text(TOY.replace('"toy": ', '"tree": '))
    monkeypatch.setattr(questions, "__path__", [*questions.__path__, str(toy)])
    monkeypatch.delitem(sys.modules, f"{questions.__name__}.toy", raising=False)
    with pytest.raises(ValueError, match=r"\btree\b"):
        registry._all()


@pytest.fixture(autouse=True)
def forgotten() -> None:
    """The toy of the test before is no module any more."""
    sys.modules.pop(f"{questions.__name__}.toy", None)
