"""The examples of schedules: their form, and that the commands in them are ours."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML

from curate.cli import app
from curate.errors import INTERNAL, CurateError, LockHeld

FOLDER = Path(__file__).parents[1] / "pipelines" / "schedules"
COMMAND = re.compile(r"(?:^|[\s\"/;&])curate (?=run|gc|report)[^\"'|;&\n#]*", re.MULTILINE)


def commands(name: str) -> list[list[str]]:
    text = (FOLDER / name).read_text().replace('"${share[@]}"', "--shard 1/2")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = COMMAND.findall("\n".join(lines).replace('"$1"', "pipeline.yaml"))
    return [shlex.split(words.strip(' "/;&')) for words in found]


def parses(words: list[str]) -> None:
    """Hand the words to the parser of the command, as the shell would; nothing runs."""
    group = typer.main.get_command(app)
    command = group.commands[words[1]]  # type: ignore[attr-defined]
    command.make_context(words[1], list(words[2:]))


@pytest.mark.parametrize("name", ["curate.cron", "curate.service", "airflow_dag.py", "slurm.sh"])
def test_the_commands_exist_with_their_options(name: str) -> None:
    found = commands(name)
    assert found
    assert any(words[1] == "run" for words in found)
    for words in found:
        parses(words)


def test_the_check_of_commands_can_fail() -> None:
    with pytest.raises(Exception, match="No such option"):
        parses(["curate", "run", "pipeline.yaml", "--silent"])


def test_crontab() -> None:
    lines = (FOLDER / "curate.cron").read_text().splitlines()
    jobs = [x for x in lines if x and not x.startswith("#") and not re.match(r"[A-Z]+=", x)]
    assert len(jobs) == 2
    for job in jobs:
        *times, user, command = job.split(None, 6)
        assert user == "curate"
        assert command.startswith("cd /")
        assert "%" not in command  # cron would make it a new line
        for field, most in zip(times, (59, 23, 31, 12, 7), strict=True):
            assert field == "*" or 0 <= int(field) <= most


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True, delimiters="=", comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((FOLDER / name).read_text())
    return parser


def test_systemd_units() -> None:
    service, timer = unit("curate.service"), unit("curate.timer")
    assert set(service) - {"DEFAULT"} == {"Unit", "Service"}
    assert service["Service"]["Type"] == "oneshot"
    assert service["Service"]["Restart"] == "on-failure"  # the only choice of a oneshot but no
    assert service["Service"]["SuccessExitStatus"] == "75"
    assert service["Service"]["RestartPreventExitStatus"] == "1 2 70"
    assert set(timer) - {"DEFAULT"} == {"Unit", "Timer", "Install"}
    assert timer["Timer"]["Unit"] == "curate.service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_reads_the_units(tmp_path: Path) -> None:
    curate = tmp_path / "curate"
    curate.write_text("#!/bin/sh\n")
    curate.chmod(0o755)
    for name in ("curate.service", "curate.timer"):
        text = (FOLDER / name).read_text().replace("/opt/curate/bin/curate", str(curate))
        (tmp_path / name).write_text(text)
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "curate.timer"),
         str(tmp_path / "curate.service")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    ours = [line for line in said.stderr.splitlines() if "curate" in line]
    if not ours and said.returncode:
        pytest.skip(f"systemd-analyze cannot work here: {said.stderr[-200:]}")
    assert ours == []


def test_cronjob() -> None:
    job = YAML(typ="safe").load((FOLDER / "cronjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
    cron = job["spec"]
    assert set(cron) <= {
        "schedule", "timeZone", "concurrencyPolicy", "startingDeadlineSeconds", "suspend",
        "successfulJobsHistoryLimit", "failedJobsHistoryLimit", "jobTemplate",
    }  # fmt: skip
    assert cron["concurrencyPolicy"] == "Forbid"
    work = cron["jobTemplate"]["spec"]
    assert set(work) == {"backoffLimit", "podFailurePolicy", "template"}
    ignore, fail = work["podFailurePolicy"]["rules"]
    assert ignore == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    assert set(fail["onExitCodes"]) == {"containerName", "operator", "values"}
    pod = work["template"]["spec"]
    assert set(pod) == {"restartPolicy", "terminationGracePeriodSeconds", "containers", "volumes"}
    assert pod["restartPolicy"] == "Never"  # what a podFailurePolicy asks for
    (container,) = pod["containers"]
    assert container["name"] == fail["onExitCodes"]["containerName"]
    assert set(container) == {
        "name", "image", "workingDir", "command", "env", "resources", "volumeMounts",
    }  # fmt: skip
    names = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == names
    assert "value" not in container["env"][0]  # a key comes from a secret
    parses(container["command"])


def test_airflow_dag() -> None:
    tree = ast.parse((FOLDER / "airflow_dag.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    tasks = {
        keyword.value.value
        for call in calls if isinstance(call.func, ast.Name) and call.func.id == "BashOperator"
        for keyword in call.keywords if keyword.arg == "task_id"
        and isinstance(keyword.value, ast.Constant)
    }  # fmt: skip
    assert tasks == {"run", "report", "gc"}
    settings = {k.arg: k.value for call in calls for k in call.keywords}
    assert ast.literal_eval(settings["max_active_runs"]) == 1
    assert ast.literal_eval(settings["skip_on_exit_code"]) == 75


SBATCH = """#!/bin/bash
echo "sbatch $*" >> "$LOG"
echo 4242
"""
CURATE = """#!/bin/bash
trap 'echo stopping >> "$LOG"; exit 143' TERM
echo "curate $*" >> "$LOG"
for _ in $(seq "${NAP:-0}"); do sleep 0.1; done
exit "${CODE:-0}"
"""
SCONTROL = """#!/bin/bash
echo "scontrol $*" >> "$LOG"
"""


@pytest.fixture
def slurm(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """Stand-ins for the programs that the script calls; they write down how."""
    for name, text in (("sbatch", SBATCH), ("curate", CURATE), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    log = tmp_path / "log"
    plain = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
    return {**plain, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log)}, log


SCRIPT = str(FOLDER / "slurm.sh")


def test_the_slurm_script_submits_shares_and_a_final_run(slurm: Any) -> None:
    environment, log = slurm
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    subprocess.run(["bash", SCRIPT, "p.yaml", "8"], check=True, env=environment)
    assert log.read_text().splitlines() == [
        f"sbatch --parsable --array=1-8 --gpus=1 {SCRIPT} p.yaml 8",
        f"sbatch --dependency=afterany:4242 --gpus=1 {SCRIPT} p.yaml 1",
    ]


@pytest.mark.parametrize("code", ["0", "3"])
def test_a_slurm_task_does_its_share_and_hands_its_code_on(slurm: Any, code: str) -> None:
    environment, log = slurm
    task = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "CODE": code}
    done = subprocess.run(["bash", SCRIPT, "p.yaml", "8"], env={**environment, **task}, check=False)
    assert done.returncode == int(code)
    last = subprocess.run(
        ["bash", SCRIPT, "p.yaml", "1"], env={**environment, "SLURM_JOB_ID": "8"}, check=False
    )
    assert last.returncode == 0
    assert log.read_text().splitlines() == [
        "curate run p.yaml --root . --quiet --shard 3/8",
        "curate run p.yaml --root . --quiet",
    ]


def test_a_slurm_task_that_runs_out_of_time_drains_and_is_queued_again(slurm: Any) -> None:
    environment, log = slurm
    process = subprocess.Popen(
        ["bash", SCRIPT, "p.yaml", "8"], env={**environment, "SLURM_JOB_ID": "7", "NAP": "6000"}
    )
    while not (log.exists() and "\n" in log.read_text()):
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    assert process.wait() == 143
    assert log.read_text().splitlines()[1:] == ["stopping", "scontrol requeue 7"]


def every_error(cls: type[CurateError] = CurateError) -> set[int]:
    return {cls.exit_code}.union(*map(every_error, cls.__subclasses__()))


def test_the_exit_codes_are_those_of_the_package_and_each_file_heeds_them() -> None:
    rows = re.findall(r"^\| ([0-9, ]+) \|.*\| (.*) \|$", (FOLDER / "README.md").read_text(), re.M)
    table = {code: what for codes, what in rows for code in map(int, codes.split(", "))}
    assert set(table) == every_error() | {0, INTERNAL, 130, 143}
    hopeless = {code for code, what in table.items() if what.startswith("tell a person")}
    assert hopeless == {1, 2, INTERNAL}
    service = unit("curate.service")["Service"]
    assert set(map(int, service["RestartPreventExitStatus"].split())) == hopeless
    assert int(service["SuccessExitStatus"]) == LockHeld.exit_code
    job = YAML(typ="safe").load((FOLDER / "cronjob.yaml").read_text())
    _, fail = job["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert (fail["action"], set(fail["onExitCodes"]["values"])) == ("FailJob", hopeless)
    assert f"skip_on_exit_code={LockHeld.exit_code}" in (FOLDER / "airflow_dag.py").read_text()
    assert "-eq 143 ]]" in Path(SCRIPT).read_text()


def test_the_table_of_files_is_complete() -> None:
    page = (FOLDER / "README.md").read_text()
    for path in FOLDER.iterdir():
        assert path.name == "README.md" or f"]({path.name})" in page
