# SPDX-License-Identifier: Apache-2.0
"""Opening of frame sources."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from iid_mm.errors import InputError
from iid_mm.media.archives import unpack_images
from iid_mm.media.readers import FrameReader, ImageReader
from iid_mm.media.video import VideoReader
from iid_mm.structures.video_record import ArchiveImages, FrameSource, ImageFiles

if TYPE_CHECKING:
    from iid_mm.utils.typing import ImageArray


OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE)


class UnreadableSource(FrameReader):
    """Stands for a video none of whose frames can be read.

    Args:
        problem: Why.
    """

    def __init__(self, problem: str) -> None:
        self.numbers = ()
        self.problem = problem

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[int, ImageArray]]:
        """Nothing."""
        return iter(())


class SourceOpener:
    """Opens frame sources; unpacks archives into a scratch folder, one at a time.

    Args:
        scratch: Folder in which archives are unpacked; made when it is needed.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._archive: Path | None = None
        self._unpacked: Path | None = None
        self._problem = ''

    def open(self, source: FrameSource) -> FrameReader:
        """Open a source.

        Args:
            source: Where the frames are.

        Returns:
            The reader; a source that cannot be read has no frame numbers and a problem.
        """
        if isinstance(source, ImageFiles):
            return ImageReader(source.folder, source.names, source.numbers)
        if isinstance(source, ArchiveImages):
            self._unpack(source.path)
            if self._unpacked is None:
                return UnreadableSource(self._problem)
            return ImageReader(self._unpacked, source.names, source.numbers)
        return VideoReader(source.path)

    def close(self) -> None:
        """Delete what was unpacked."""
        if self._unpacked is not None:
            shutil.rmtree(self._unpacked.parent, ignore_errors=True)
        self._archive = self._unpacked = None

    def _unpack(self, archive: Path) -> None:
        if archive == self._archive:
            return
        self.close()
        self._archive = archive
        self.scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self.scratch)) / 'images'
        try:
            unpack_images(archive, folder)
        except (InputError, OSError) as error:
            shutil.rmtree(folder.parent, ignore_errors=True)
            if isinstance(error, OSError) and error.errno in OF_THE_DISK:
                # Not the archive's fault: it must not count as worked on.
                raise
            # Reports travel: no folders of this machine.
            self._problem = str(error).replace(f'{archive.parent}/', '')
            return
        self._unpacked = folder
