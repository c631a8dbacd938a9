"""All targets, by name."""

from __future__ import annotations

from tests.fuzz import checkpoints, config, files, folders, messages, resumes, text
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        *text.TARGETS,
        *files.TARGETS,
        *config.TARGETS,
        *messages.TARGETS,
        *folders.TARGETS,
        *checkpoints.TARGETS,
        *resumes.TARGETS,
    )
}
