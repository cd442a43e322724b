"""What a run makes of those before it: what is known of URLs, and the bodies that are given once more.

Does: choose by the job. Must not decide about a URL. Invariant: only what the job asks for as it did before is asked
for conditionally; where a body would be missing it is fetched whole.
"""

from __future__ import annotations

from crawler.checkpoint import Checkpoint
from crawler.copies import Copies
from crawler.folders import JobFolder
from crawler.job import Job
from crawler.recall import Recall, Terms
from crawler.resume import Taken
from crawler.spool import Keep


def recall_of(job: Job, checkpoint: Checkpoint, folder: JobFolder) -> Recall:
    """The history of a job. Raises StorageError."""
    said = job.run
    if not checkpoint.knows_any:  # nor is a file opened
        return Recall(None)
    if said.again == "adaptive":
        return Recall(folder.state, Terms(said.honor_expires, said.checks.least, said.checks.most))
    return Recall(folder.state, Terms(said.honor_expires and said.again == "refresh"))


def copies_of(job: Job, checkpoint: Checkpoint, folder: JobFolder, taken: Taken) -> Copies | None:
    """The bodies of earlier runs; None where all is fetched whole."""
    if job.run.again == "all" or taken.anew is not None:
        return None
    said = job.output.bodies
    # Who looks into bodies needs them, and so do outputs that hold them; an archive refers to the one it has.
    looks = job.discovers is not None or job.expect.needs_body or any(of.expect.needs_body for of in job.hosts.values())
    looks = looks or (job.paging is not None and job.paging.needs_body)
    stored = any(kind in ("files", "tar", "inline") for kind in said)
    folders = {n: folder.run(run) for n, run, _ in checkpoint.run_states()}
    return Copies(folders, Keep(str(folder.parts) if job.output.keeps_bodies else None), needed=looks or stored)
