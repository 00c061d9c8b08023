"""The command line from outside: exit codes, one line an error, data on stdout, talk on stderr."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
import torch
from typer.testing import CliRunner

from w2v import __version__
from w2v.cli import main as cli_main
from w2v.cli.main import app
from w2v.errors import DivergedError, StoppedError, W2VError
from w2v.rundir import RunDir
from w2v.states import complete


def one_line(outcome):
    """The message of a failure, which is one line and at most one hint."""
    lines = outcome.err.strip().splitlines()
    lines = [line for line in lines if line.startswith(("w2v: error: ", "hint: "))]
    assert lines
    assert lines[0].startswith("w2v: error: ")
    assert len(lines) <= 2
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    return lines[0].removeprefix("w2v: error: ")


@pytest.fixture
def trained(cli, tiny_options):
    assert cli("train", *tiny_options, "--run", "runs/tiny", "-q").code == 0


def test_version_and_help(cli):
    assert cli("--version").out == f"w2v {__version__}\n"
    commands = ("train", "similar", "eval", "export", "embed", "plot", "info", "config", "corpus")
    for command in ((), *((name,) for name in commands)):
        for flag in ("-h", "--help"):
            outcome = cli(*command, flag)
            assert outcome.code == 0
            assert outcome.out.startswith("Usage: w2v")


def test_no_command_shows_the_help_and_exits_with_2(cli):
    outcome = cli()
    assert outcome.code == 2
    assert "similar" in outcome.err


def test_train_prints_the_run_folder_and_nothing_else(cli, tiny_options):
    outcome = cli("train", *tiny_options, "--run", "runs/tiny")
    assert outcome.code == 0
    assert outcome.out == "runs/tiny\n"
    assert "kernel bmm" in outcome.err
    assert "epoch 3: loss 0." in outcome.err


def test_quiet_says_nothing(cli, tiny_options):
    outcome = cli("train", *tiny_options, "--run", "runs/tiny", "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "runs/tiny\n", "")


def test_the_run_folder_is_named_after_the_config(cli, tiny_options, tmp_path):
    (tmp_path / "mine.yaml").write_text("train: {seed: 1}\n")
    assert cli("train", "-c", "mine.yaml", *tiny_options).out == "runs/mine\n"


def test_w2v_yaml_of_the_current_folder_is_the_default(cli, tiny_options, tmp_path):
    (tmp_path / "w2v.yaml").write_text("output: {run: here}\n")
    outcome = cli("train", *tiny_options)
    assert outcome.out == "here\n"
    assert "w2v.yaml" in outcome.err


def test_a_dry_run_says_what_training_would_refuse(cli, trained, tiny_options):
    outcome = cli("train", *tiny_options, "--run", "runs/tiny", "--dry-run")
    assert outcome.code == 0
    assert "train would be refused: runs/tiny holds a finished run; --force" in outcome.err
    forced = cli("train", *tiny_options, "--run", "runs/tiny", "--dry-run", "--force")
    assert "refused" not in forced.err


def test_dry_run_says_what_would_be_done_and_writes_no_run(cli, tiny_options, tmp_path):
    outcome = cli("train", *tiny_options, "--run", "runs/tiny", "--dry-run")
    assert outcome.code == 0
    assert dict(line.split("\t", 1) for line in outcome.out.splitlines())["vocab_size"] == "19"
    assert not (tmp_path / "runs").exists()


# --- bad input, one by one --------------------------------------------------------------------


def test_unknown_key(cli):
    outcome = cli("train", "-s", "train.epohs=3")
    assert outcome.code == 2
    assert one_line(outcome) == (
        "--set train.epohs=3: train.epohs: unknown setting; did you mean 'epochs'?"
    )


def test_wrong_type(cli, tmp_path):
    (tmp_path / "a.yaml").write_text("train:\n  epochs: ten\n")
    outcome = cli("train", "-c", "a.yaml")
    assert outcome.code == 2
    assert one_line(outcome).startswith("a.yaml:2:3: train.epochs: expected a whole number")


def test_unknown_option_and_command(cli):
    for arguments in (("train", "--frobnicate"), ("tarin",), ("similar", "--k", "x")):
        outcome = cli(*arguments)
        assert outcome.code == 2
        one_line(outcome)


def test_missing_config_file(cli):
    outcome = cli("train", "-c", "ptp.yaml")
    assert outcome.code == 2
    assert "did you mean 'ptb.yaml'" in outcome.err
    one_line(outcome)


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (None, (), "missing.txt"),
        ("folder", (), "corpus.txt"),
        (b"caf\xe9 au lait\n", (), "line 1, byte 4: not UTF-8"),
        (b"", (), "no words in"),
        (b" \n\n", (), "no words in"),
        (b"a b a b a\n", ("vocab.min_count=5",), "'a', occurs 3 times"),
        (b"a\nb\nc\n", (), "no training pairs"),
        (b"a b c d e f\n" * 9, ("sampling.subsample=1.0e-9",), "no training pairs"),
    ],
)
def test_bad_corpora_exit_with_4(cli, tmp_path, content, settings, message):
    path = tmp_path / ("missing.txt" if content is None else "corpus.txt")
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    options = [
        part
        for setting in (
            "corpus.name=text",
            f"corpus.path={path}",
            "vocab.min_count=1",
            "model.dim=4",
            *settings,
        )
        for part in ("-s", setting)
    ]
    outcome = cli("train", *options, "--run", "runs/bad", "-q")
    assert outcome.code == 4
    assert message in one_line(outcome)
    assert not (tmp_path / "runs/bad").exists()


def test_cuda_without_cuda(cli, tiny_options, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    outcome = cli("train", *tiny_options, "--device", "cuda")
    assert outcome.code == 2
    assert "train.device=cuda" in one_line(outcome)


def test_a_finished_run_is_refused_without_force(cli, tiny_options, trained):
    outcome = cli("train", *tiny_options, "--run", "runs/tiny")
    assert outcome.code == 5
    assert "holds a finished run" in one_line(outcome)
    assert cli("train", *tiny_options, "--run", "runs/tiny", "--force", "-q").code == 0


def test_a_folder_with_somebody_elses_files_is_spared(cli, tiny_options, tmp_path):
    (tmp_path / "config.yaml").write_text("train: {seed: 1}  # mine\n")
    outcome = cli("train", "-c", "config.yaml", *tiny_options, "--run", ".")
    assert outcome.code == 5
    assert "holds config.yaml" in one_line(outcome)
    assert (tmp_path / "config.yaml").read_text() == "train: {seed: 1}  # mine\n"


def test_an_empty_run_folder_name_is_refused(cli, tiny_options):
    outcome = cli("train", *tiny_options, "--run", "")
    assert outcome.code == 2
    assert "output.run" in one_line(outcome)


def test_an_existing_export_is_refused_without_force(cli, trained, tmp_path):
    (tmp_path / "v.txt").write_text("mine")
    outcome = cli("export", "v.txt")
    assert outcome.code == 5
    assert "--force" in outcome.err
    assert (tmp_path / "v.txt").read_text() == "mine"
    assert cli("export", "v.txt", "--force").code == 0


def test_offline_without_the_treebank(cli, monkeypatch):
    # Port 9 is closed; a proxy there is what being offline looks like, without leaving the host.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("time.sleep", lambda _: None)
    outcome = cli("train", "-c", "ptb.yaml", "-q")
    assert outcome.code == 3
    one_line(outcome)
    assert "ptb.zip" in outcome.err
    assert "quickstart.yaml" in outcome.err


def test_a_file_with_the_wrong_hash_is_refused(cli, tmp_path, monkeypatch):
    test_offline_without_the_treebank(cli, monkeypatch)
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "ptb.zip").write_bytes(b"not the treebank")
    outcome = cli("train", "-c", "ptb.yaml", "-q")
    assert outcome.code == 3
    assert "ptb.zip" in one_line(outcome)


def test_unknown_word(cli, trained):
    outcome = cli("similar", "aple1")
    assert outcome.code == 4
    assert "'aple1'" in one_line(outcome)
    assert "apple1" in outcome.err


@pytest.mark.parametrize("k", ["0", "-1", "x"])
def test_bad_k(cli, trained, k):
    outcome = cli("similar", "apple1", "-k", k)
    assert outcome.code == 2
    one_line(outcome)


def test_damaged_vectors(cli, trained, tmp_path):
    path = tmp_path / "runs" / "tiny" / "vectors.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    outcome = cli("similar", "apple1")
    assert outcome.code == 4
    assert "checksum mismatch" in one_line(outcome)


def test_no_run_yet(cli):
    outcome = cli("similar", "chip")
    assert outcome.code == 4
    assert "no finished run" in one_line(outcome)


# --- what is left to main ---------------------------------------------------------------------


def test_divergence_exits_with_6(cli, tiny_options, monkeypatch):
    def explode(*_, **__):
        raise DivergedError("made up", hint="calm down")

    monkeypatch.setattr("w2v.training.execute", explode)
    outcome = cli("train", *tiny_options)
    assert outcome.code == 6
    assert "hint: calm down" in outcome.err


def test_a_bug_leaves_a_report_and_no_traceback(cli, tiny_options, monkeypatch, tmp_path):
    def explode(*_, **__):
        raise ZeroDivisionError("made up")

    monkeypatch.setattr("w2v.training.execute", explode)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    outcome = cli("train", *tiny_options)
    assert outcome.code == 70
    assert "Traceback" not in outcome.err
    (report,) = tmp_path.glob("w2v-bug-*.txt")
    assert str(report) in outcome.err
    assert "ZeroDivisionError: made up" in report.read_text()


def test_debugging_shows_the_traceback(cli, monkeypatch):
    monkeypatch.setenv("W2V_DEBUG", "1")
    outcome = cli("similar", "chip")
    assert outcome.code == 4
    assert "Traceback" in outcome.err


def test_memory_that_runs_out_exits_with_5(cli, tiny_options, monkeypatch):
    def explode(*_, **__):
        raise MemoryError

    monkeypatch.setattr("w2v.training.execute", explode)
    outcome = cli("train", *tiny_options)
    assert outcome.code == 5
    assert "out of memory" in one_line(outcome)


def test_an_interrupt_exits_with_130(cli, tiny_options, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("w2v.training.execute", interrupt)
    outcome = cli("train", *tiny_options)
    assert outcome.code == 130
    assert outcome.err.endswith("w2v: error: ended by SIGINT\n")


# --- where nobody reads standard error --------------------------------------------------------


@pytest.fixture
def unread(cli, monkeypatch):
    """Runs `w2v` with a standard error whose reader has ended, as of `2>&1 | head -1`."""

    def run(*arguments):
        reading, writing = os.pipe()
        os.close(reading)
        stderr = open(writing, "w", buffering=1)  # noqa: PTH123, SIM115
        with monkeypatch.context() as patch:
            patch.setattr("sys.stderr", stderr)
            outcome = cli(*arguments)
        with suppress(BrokenPipeError):
            stderr.close()
        return outcome

    return run


@pytest.mark.parametrize("kind", [W2VError, *W2VError.__subclasses__()])
def test_each_code_is_that_of_its_error_where_nobody_reads_stderr(kind, unread, monkeypatch):
    error = StoppedError(15, "said") if kind is StoppedError else kind("said", hint="this too")

    def fail(*_, **__):
        cli_main.logging.getLogger("w2v").warning("said before")
        raise error

    monkeypatch.setenv("W2V_DEBUG", "1")
    monkeypatch.setattr("w2v.runs.load_chosen", fail)
    outcome = unread("similar", "chip")
    assert (outcome.code, outcome.out, outcome.err) == (error.exit_code, "", "")


@pytest.mark.parametrize(
    ("arguments", "error", "code"),
    [
        (("--frobnicate",), None, 2),
        ((), None, 2),
        (("similar", "chip"), ZeroDivisionError(), 70),
        (("similar", "chip"), MemoryError(), 5),
        (("similar", "chip"), KeyboardInterrupt(), 130),
        (("config", "show"), None, 0),
        (("config", "check"), None, 0),
    ],
)
def test_other_codes_where_nobody_reads_stderr(
    arguments, error, code, unread, monkeypatch, tmp_path
):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("w2v.runs.load_chosen", fail)
    outcome = unread(*arguments)
    assert (outcome.code, outcome.err) == (code, "")


def test_a_mistake_in_a_log_line_is_still_shown(cli, monkeypatch):
    def mistaken(*_, **__):
        cli_main.logging.getLogger("w2v").warning("%d", "no number")

    monkeypatch.setattr("w2v.runs.load_chosen", mistaken)
    assert "--- Logging error ---" in cli("similar", "chip").err


def test_a_bug_without_a_place_for_its_report(cli, monkeypatch, tmp_path):
    def fail(*_, **__):
        raise ZeroDivisionError("made up")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    monkeypatch.setattr("w2v.runs.load_chosen", fail)
    outcome = cli("similar", "chip")
    assert outcome.code == 70
    assert one_line(outcome) == "internal error: ZeroDivisionError: made up"
    assert "hint: W2V_DEBUG=1 shows where" in outcome.err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_a_stop_whose_reader_has_ended_is_saved_and_has_its_code(tiny_options, tmp_path):
    """Ctrl-C in `w2v train 2>&1 | tee log` ends tee first."""
    command = [sys.executable, "-m", "w2v", "train", *tiny_options, "-s", "train.epochs=10000"]
    with subprocess.Popen(
        [*command, "--run", "run"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as trainer:
        next(line for line in trainer.stdout if line.startswith("epoch 1:"))
        trainer.stdout.close()
        trainer.send_signal(signal.SIGINT)
        assert trainer.wait(timeout=30) == 130
    assert complete(tmp_path / "run" / "checkpoints")


# --- through typer's own runner, and as a real process ----------------------------------------


def test_the_app_under_typers_runner(trained):
    result = CliRunner().invoke(app, ["similar", "apple1", "-k", "2"])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2


def process(*arguments, **options):
    command = [sys.executable, "-m", "w2v", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def test_train_similar_export_as_real_processes(tiny_options, tmp_path):
    trained = process("train", *tiny_options, "--run", "runs/tiny", cwd=tmp_path)
    assert (trained.returncode, trained.stdout) == (0, "runs/tiny\n")
    similar = process("similar", "apple1", "-k", "3", cwd=tmp_path)
    assert similar.returncode == 0
    rows = [line.split("\t") for line in similar.stdout.splitlines()]
    assert [len(cosine.partition(".")[2]) for _, cosine in rows] == [4, 4, 4]
    exported = process("export", "vectors.txt", cwd=tmp_path)
    assert exported.returncode == 0
    assert (tmp_path / "vectors.txt").read_text().startswith("18 16\n")


@pytest.mark.slow
def test_a_reader_that_goes_away_exits_with_141(tiny_options, tmp_path):
    assert process("train", *tiny_options, "--run", "runs/tiny", cwd=tmp_path).returncode == 0
    command = [sys.executable, "-m", "w2v", "export", "-"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as writer:
        writer.stdout.close()
        errors = writer.stderr.read().decode()
        assert writer.wait(timeout=60) == 141
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_stdout_exits_with_5(tiny_options, tmp_path):
    assert process("train", *tiny_options, "--run", "runs/tiny", cwd=tmp_path).returncode == 0
    with open("/dev/full", "w") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "w2v", "similar", "apple1"]
        done = subprocess.run(
            command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 5
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_nohup_is_honored(tiny_options, tmp_path):
    command = [sys.executable, "-m", "w2v", "train", *tiny_options, "--run", "runs/tiny"]
    ignoring = "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    ignoring += f"os.execv({command[0]!r}, {command!r})"
    with subprocess.Popen(
        [sys.executable, "-c", ignoring], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as trainer:
        assert "config" in trainer.stderr.readline()
        trainer.send_signal(signal.SIGHUP)
        trainer.stderr.read()
        assert trainer.wait(timeout=60) == 0
    assert RunDir(tmp_path / "runs/tiny").is_finished()


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize(("sent", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_training_with_its_code(sent, code, tiny_options, tmp_path):
    command = [sys.executable, "-m", "w2v", "train", *tiny_options, "--run", "runs/tiny"]
    with subprocess.Popen(
        [*command, "-s", "train.epochs=10000"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as trainer:
        for line in trainer.stderr:
            if line.startswith("epoch 1:"):
                break
        trainer.send_signal(getattr(signal, sent))
        errors = trainer.stderr.read()
        assert trainer.wait(timeout=30) == code
    assert "Traceback" not in errors
    assert not list(tmp_path.rglob(".w2v-tmp-*"))
    assert not RunDir(tmp_path / "runs/tiny").is_finished()


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("--help",), ("similar", "-"), ("similar", "apple1")])
def test_closed_standard_streams_are_no_bug(arguments, tiny_options, tmp_path):
    assert process("train", *tiny_options, "--run", "runs/tiny", cwd=tmp_path).returncode == 0
    command = [sys.executable, "-m", "w2v", *arguments]
    closed = f"import os; [os.close(i) for i in range(3)]; os.execv({command[0]!r}, {command!r})"
    done = subprocess.run([sys.executable, "-c", closed], cwd=tmp_path, timeout=60)
    assert done.returncode == 0


def test_main_reads_the_process_arguments(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["w2v", "--version"])
    with pytest.raises(SystemExit) as exit_:
        cli_main.main()
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"w2v {__version__}\n"
