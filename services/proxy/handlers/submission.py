"""A committed upload as the scheduler is told of it."""

from libs.common.messages import SubmitTask
from libs.common.model import InstanceId
from services.proxy.core.names import ARCHIVE
from services.proxy.ports import Draft, Manifest


def submission_of(draft: Draft, manifest: Manifest, holder: InstanceId) -> SubmitTask:
    """Say what a commit says. The same upload says the same for ever, so that it is known again."""
    return SubmitTask(
        task=draft.task,
        owner=draft.owner,
        name=draft.name,
        holder=holder,
        created_at_ms=draft.created_at_ms,
        images_count=None if hides_images(draft, manifest) else manifest.images_count,
        size_bytes=manifest.size_bytes,
        options=draft.options,
        outputs=draft.outputs,
        skip_post_processing=draft.skip_post_processing,
        zip_url=draft.zip_url,
        submodel=manifest.has_seed and bool(draft.outputs),
    )


def hides_images(draft: Draft, manifest: Manifest) -> bool:
    """Whether there are images in an archive that only the node unpacks, so that nobody knows yet how many."""
    return bool(draft.zip_url) or any(file.name == ARCHIVE for file in manifest.files)
