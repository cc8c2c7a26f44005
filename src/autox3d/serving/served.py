"""What `mlflow models serve` answers with: the classes that `autox3d predict` prints.

    POST /invocations
    {"dataframe_split": {"columns": ["video"], "data": [["AAAAIGZ0eXBpc29t..."]]}}

A video is the content of its file, in base64; never a path or an address, so that whoever can reach
the server cannot make it read other files.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from autox3d.inference.network import CLIPS, Network, load
from autox3d.ingest.source import BadVideo

if TYPE_CHECKING:
    import pandas as pd

MOST = 64 * 2**20  # bytes of a video
MOST_CLIPS = 100  # of a video


class Served:
    """A network that classifies the contents of video files."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def predict(
        self, videos: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Returns the most probable classes of each video, and what of it could not be read.

        Args:
            videos: the column `video` has bytes
            params: `top`, the number of classes, and `clips`, as for `autox3d predict`

        Raises:
            MlflowException: a video is too large or has nothing that decodes; the server answers
                with status 400.
        """
        given = params or {}
        top, clips = int(given.get("top", 5)), int(given.get("clips", CLIPS))
        if top < 1 or not 1 <= clips <= MOST_CLIPS:
            raise _bad(f"params: 'top' must be at least 1, 'clips' from 1 to {MOST_CLIPS}.")
        contents = list(videos["video"])
        for number, content in enumerate(contents):
            if len(content) > MOST:
                raise _bad(f"video {number}: larger than {MOST >> 20} MiB. Cut it.")
        with tempfile.TemporaryDirectory() as scratch:
            return self._answers(contents, Path(scratch), top, clips)

    def _answers(
        self, contents: list[bytes], scratch: Path, top: int, clips: int
    ) -> list[dict[str, Any]]:
        paths = [scratch / str(number) for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        answers = []
        for path, prediction in self.network.predict_all(paths, clips):
            if isinstance(prediction, BadVideo):
                raise _bad(f"video {path.name}: {prediction}. Send another one, or leave it out.")
            classes = [{"class": name, "score": score} for name, score in prediction.top(top)]
            answers.append({"top": classes, "lost": prediction.lost})
        return answers


def _bad(line: str) -> MlflowException:
    return MlflowException(line, error_code=INVALID_PARAMETER_VALUE)


def _load_pyfunc(path: str) -> Served:
    """Called by MLflow with the folder of weights in the model."""
    return Served(load(Path(path)))
