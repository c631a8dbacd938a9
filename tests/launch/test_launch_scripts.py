"""The scripts of launch/: what they report, change, and put back."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "launch"
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="the scripts are for bash")


@pytest.fixture
def host(tmp_path):
    """Return a folder that stands for the root of a host that is not prepared."""
    pages = tmp_path / "sys/kernel/mm/transparent_hugepage"
    pages.mkdir(parents=True)
    (pages / "shmem_enabled").write_text("always within_size advise [never] deny force\n")
    (pages / "enabled").write_text("always [madvise] never\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemTotal:       {1 << 34} kB\n")
    return tmp_path


def prepare(host, *args, **variables):
    env = {**os.environ, "DISTLSH_ROOT": str(host), "DISTLSH_MOUNT": "echo mount", **variables}
    return subprocess.run(
        [LAUNCH / "prepare-host.sh", *args], capture_output=True, text=True, env=env, check=False
    )


def files(folder):
    return {path: path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_check_reports_and_changes_nothing(host):
    """--check names each change and makes none."""
    before = files(host)
    done = prepare(host, "--check")
    assert done.returncode == 0
    assert "change  huge pages (shmem_enabled): never -> advise" in done.stdout
    assert "ok      huge pages (enabled): madvise" in done.stdout
    assert "change  /dev/shm: " in done.stdout
    assert "change  limits of new logins" in done.stdout
    assert "3 to change" in done.stdout
    assert files(host) == before


def test_apply_says_then_changes(host):
    """Without --check the same changes are named and made."""
    done = prepare(host)
    assert done.returncode == 0
    assert (host / "sys/kernel/mm/transparent_hugepage/shmem_enabled").read_text() == "advise\n"
    assert "nofile   65536" in (host / "etc/security/limits.d/90-distlsh.conf").read_text()
    said, did = done.stdout.index("change  /dev/shm"), done.stdout.index("mount -o remount,size=")
    assert said < did


def test_undo_puts_back(host):
    """--undo restores what was there before the first change."""
    prepare(host)
    (host / "sys/kernel/mm/transparent_hugepage/shmem_enabled").write_text("always [advise] never\n")
    prepare(host)
    done = prepare(host, "--undo")
    assert done.returncode == 0
    assert (host / "sys/kernel/mm/transparent_hugepage/shmem_enabled").read_text() == "never\n"
    assert not (host / "etc/security/limits.d/90-distlsh.conf").exists()
    assert "nothing to undo" in prepare(host, "--undo").stdout


def test_size_of_shm_can_be_chosen(host):
    """SHM_SIZE wins over 90 % of RAM, and what is large enough is left alone."""
    done = prepare(host, "--check", SHM_SIZE="1M")
    assert "ok      /dev/shm" in done.stdout


def test_unknown_argument(host):
    """A wrong argument exits 2 with the usage."""
    done = prepare(host, "--bogus")
    assert done.returncode == 2
    assert "unknown argument --bogus" in done.stderr


@pytest.mark.parametrize("name", ["prepare-host.sh", "distlsh.sbatch"])
def test_scripts_parse_and_can_be_run(name):
    """Both are executable and bash can read them."""
    assert os.access(LAUNCH / name, os.X_OK)
    assert subprocess.run(["bash", "-n", LAUNCH / name], check=False).returncode == 0


def fake_launcher(folder, body):
    folder.mkdir(exist_ok=True)
    program = folder / "distlsh-launch"
    program.write_text(f"#!/usr/bin/env bash\n{body}\n")
    program.chmod(0o755)


def slurm_job(tmp_path, *args):
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "SLURM_CPUS_PER_TASK": "8"}
    env.pop("SLURM_JOB_ID", None)
    return subprocess.run(
        [LAUNCH / "distlsh.sbatch", *args], capture_output=True, text=True, env=env, cwd=tmp_path, check=False
    )


@pytest.mark.parametrize("code", [0, 2, 130])
def test_slurm_job_passes_the_exit_code_on(tmp_path, code):
    """The job starts the run with the node's cores, and exits as the run does."""
    fake_launcher(tmp_path / "bin", f'echo "$@"; exit {code}')
    done = slurm_job(tmp_path, "enwiki-para", "--set", "train.lr=0.01")
    assert done.returncode == code
    assert "--config enwiki-para --workers 7 --run-dir runs/slurm-" in done.stdout
    assert done.stdout.rstrip().endswith("--set train.lr=0.01")


def test_slurm_job_needs_a_config(tmp_path):
    """Without a configuration the job says how it is used."""
    done = slurm_job(tmp_path)
    assert done.returncode != 0
    assert "usage: sbatch launch/distlsh.sbatch CONFIG" in done.stderr


def test_service_restarts_what_can_be_resumed():
    """The unit resumes a run that exists, takes 130 for success, and does not restart wrong input."""
    text = (LAUNCH / "distlsh-launch@.service").read_text()
    for line in ("SuccessExitStatus=130", "RestartPreventExitStatus=2", "KillMode=mixed"):
        assert line in text
    assert '--resume "$$RUN"' in text
