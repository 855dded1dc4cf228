# SPDX-License-Identifier: Apache-2.0
"""Opening of frame sources."""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path

from iid_mm.errors import InputError
from iid_mm.media.archives import unpack_images
from iid_mm.media.readers import FrameReader, ImageReader
from iid_mm.media.video_reader import VideoReader
from iid_mm.structures.video_record import ArchiveImages, FrameSource, ImageFiles

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE)


class SourceOpener:
    """Opens frame sources; unpacks archives into a scratch folder, one at a time.

    Args:
        scratch: Folder in which archives are unpacked; created when needed.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._archive: Path | None = None
        self._unpacked: Path | None = None
        self._problem = ''

    def open(self, source: FrameSource) -> FrameReader:
        """Open a source.

        Args:
            source: Where the frames are stored.

        Returns:
            The reader; of a source that cannot be read it has a problem and no frame numbers.
        """
        if isinstance(source, ImageFiles):
            return ImageReader(source.folder, source.names, source.numbers)
        if isinstance(source, ArchiveImages):
            self._unpack(source.path)
            if self._unpacked is None:
                reader = ImageReader(Path(), (), ())
                reader.note(self._problem)
                return reader
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
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                # Not the archive's fault, which may be tried again later.
                raise
            # Reports are shared: no folders of this machine.
            self._problem = str(error).replace(f'{archive.parent}/', '')
            return
        self._unpacked = folder
