# SPDX-License-Identifier: Apache-2.0
"""A worker: takes jobs off a jobboard until it is told to stop.

Contract: an interrupt is passed on to the commands that run, which clean up; their jobs are given back. When
ZooKeeper is gone the commands go on as long as their lease lasts, and the worker comes back with a new
session when ZooKeeper does.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid

from osc_imagetools import errors
from osc_imagetools.backup_run.fleet.board import Jobboard
from osc_imagetools.backup_run.fleet.job import WorkerRecord
from osc_imagetools.backup_run.fleet.plan_address import JobboardAddress
from osc_imagetools.backup_run.fleet.posting import left_to_do
from osc_imagetools.backup_run.fleet.session import WorkerSession
from osc_imagetools.backup_run.fleet.task import FleetTask
from osc_imagetools.backup_run.fleet.worker_loop import WorkerLoop, WorkerOptions
from osc_imagetools.backup_run.result import ServerResult
from osc_imagetools.backup_run.running import ended_with_us, last_words
from osc_imagetools.operations.steps import PlanStep
from osc_imagetools.run.interrupts import interrupts_set

LOG = logging.getLogger(__name__)
AGAIN = 5.0  # seconds until a board that cannot be reached is tried again


def worker_name() -> str:
    """A name that no other worker has: of the machine, of the process, and a random part."""
    return f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:4]}"


def known_clouds() -> frozenset[str]:
    """The clouds in this machine's clouds.yaml.

    :raises errors.UsageError: there are none.
    """
    from openstack import config, exceptions

    try:
        found = config.OpenStackConfig()
    except exceptions.ConfigException as exc:
        raise errors.UsageError(f"clouds.yaml cannot be read: {exc}") from exc
    # "envvars" is a login by variables, "defaults" what the SDK makes of nothing.
    names = frozenset(found.get_cloud_names()) - {"envvars"} if found.config_filename else frozenset()
    if not names:
        raise errors.UsageError(
            "no cloud is in clouds.yaml: a worker logs in to the clouds that are named there",
            hint="Name another file with OS_CLIENT_CONFIG_FILE.",
        )
    return names


def waiting_steps(address: JobboardAddress, options: WorkerOptions) -> list[PlanStep]:
    """The rows of a dry run: the jobs that this worker could take, in their order."""
    worker = WorkerRecord(worker_name(), options.clouds, frozenset(options.policies))
    with Jobboard(address, worker.name, options.timeout) as board:
        free = [p.job for p in board.jobs() if p.job and not p.claimed and worker.knows(p.job)]
        jobs = left_to_do(board, free)
    return [
        PlanStep(
            number,
            "back up",
            f"server {job.server.name} ({job.server.id}) in cloud {job.cloud} for run {job.run}",
            False,
            None,
        )
        for number, job in enumerate(jobs, 1)
    ]


def work(address: JobboardAddress, options: WorkerOptions) -> list[ServerResult]:
    """Takes jobs until there are none (``exit_when_idle``): what became of them.

    :raises errors.Cancelled: interrupted; the commands have cleaned up, and their jobs are given back.
    :raises errors.JobboardError: the board could not be reached in the beginning.
    """
    stop, give_up = threading.Event(), threading.Event()
    worker = WorkerRecord(worker_name(), options.clouds, frozenset(options.policies))
    tasks: list[FleetTask] = []
    results: list[ServerResult] = []
    number = 0

    def said() -> str:
        return last_words(task.job.server for task in tasks)

    with interrupts_set(stop, give_up, last_words=said), ended_with_us(tasks):
        while True:
            number += 1
            try:
                with (
                    Jobboard(address, f"{worker.name}.{number}", options.timeout) as board,
                    WorkerSession(board, worker, options.timeout) as session,
                ):
                    LOG.info("Worker %s takes jobs from %s", worker.name, address.url)
                    loop = WorkerLoop(board, session, worker, options, tasks, stop, give_up, results)
                    if loop.work():
                        break
            except errors.JobboardError as exc:
                if number == 1:
                    raise
                LOG.warning("%s; trying again", exc.message)
            if stop.wait(AGAIN):
                break
    if stop.is_set():
        raise errors.Cancelled("interrupted: the jobs of this worker are given back")
    return results
