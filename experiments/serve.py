"""Serves a page that transcribes a microphone or a file live, and a WebSocket for programs.

python -m experiments.serve --model=data/pretrained/assistant
python -m experiments.serve --model=workdir/prompts/models/float,workdir/prompts/models/aware

Several models hear the same audio side by side. The server listens to this machine alone unless
`--host` says otherwise. A stream more than `--max_streams` is refused.
"""

import pathlib
import socket
import urllib.parse

from absl import flags

from experiments.flags import may_be_remote, run, set_up_jax
from rnnt_qat.decoding.endpoint import EndpointConfig
from rnnt_qat.experiment.recognizer import Recognizer, name_models
from rnnt_qat.experiment.remote_paths import readable_folder
from rnnt_qat.infra.console import Console
from rnnt_qat.infra.progress import Progress
from rnnt_qat.live.batch_engine import BatchEngine
from rnnt_qat.live.stream_pool import Limits, StreamPool

_MODEL = flags.DEFINE_list("model", None, "Model directories, shown side by side.", required=True)
_HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Address to listen on; 0.0.0.0 lets other machines in, without encryption."
)
_PORT = flags.DEFINE_integer("port", 8000, "Port to listen on.", lower_bound=0, upper_bound=65535)
_CHUNK_MS = flags.DEFINE_float("chunk_ms", 240.0, "Audio that is decoded at once, in ms.")
_STREAMS = flags.DEFINE_integer(
    "max_streams", 8, "Streams at the same time, in one batch.", lower_bound=1
)
_STREAM_S = flags.DEFINE_float("max_stream_s", 3600.0, "Seconds of audio a stream.", lower_bound=1)
_ORIGINS = flags.DEFINE_list(
    "origins", [], "Origins of other pages that may open streams, e.g. https://demo.example."
)

may_be_remote(_MODEL)


class ServeFlagError(flags.Error):
    """A flag value that is incompatible with the models."""


def main() -> None:
    """Loads and compiles the models, then serves until Ctrl-C."""
    import uvicorn  # needs the extra `serve`, which the help does not

    from rnnt_qat.live.app import LOOPBACK, Page, make_app

    _check_origins()
    listening = _listen()  # before minutes of compilation
    set_up_jax(keep_above_s=0.0)
    console = Console()
    engines = load_engines(_MODEL.value, console)
    pool = StreamPool(engines, Limits(streams=_STREAMS.value, stream_s=_STREAM_S.value))
    hosts = LOOPBACK if _HOST.value in LOOPBACK else ("*",)
    app = make_app(pool, Page(tuple(_ORIGINS.value), hosts, _CHUNK_MS.value))
    console.say(
        f"http://{_HOST.value}:{listening.getsockname()[1]}/ - {', '.join(engines)}; at most "
        f"{_STREAMS.value} streams; Ctrl-C ends it"
    )
    config = uvicorn.Config(app, ws_max_size=pool.limits.message_bytes, log_level="warning")
    uvicorn.Server(config).run(sockets=[listening])


def _listen() -> socket.socket:
    """Returns a socket that listens on the address of the flags.

    Raises:
      ServeFlagError: if the address is not this machine's, or the port is taken or not allowed.
    """
    address = _HOST.value, _PORT.value
    family = socket.AF_INET6 if ":" in _HOST.value else socket.AF_INET
    try:
        return socket.create_server(address, family=family)
    except OSError as error:
        raise ServeFlagError(
            f"--host={_HOST.value} --port={_PORT.value}: {error.strerror}; choose an address of "
            "this machine and a port that is free"
        ) from error


def _check_origins() -> None:
    """Checks that origins are written as browsers send them.

    Raises:
      ServeFlagError: if one is not, and would never match.
    """
    for origin in _ORIGINS.value:
        parts = urllib.parse.urlsplit(origin)
        if not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
            raise ServeFlagError(
                f"--origins={origin}: an origin is a scheme and a host, e.g. https://demo.example"
            )


def load_engines(directories: list[str], console: Console) -> dict[str, BatchEngine]:
    """Loads the models and compiles their programs.

    Args:
      directories: paths or URLs of model directories.
      console: shows the progress.

    Raises:
      ServeFlagError: if the chunk is no multiple of a model's frame, or the models take audio of
        different rates or chunks.
    """
    engines = {}
    names = name_models(directories)
    if len(directories) == 1:
        names = {pathlib.PurePath(directories[0]).name: directories[0]}
    for name, directory in names.items():
        recognizer = Recognizer.load(readable_folder(directory))
        search = recognizer.config.evaluation.search
        try:
            engine = BatchEngine(
                recognizer, search, _CHUNK_MS.value, _STREAMS.value, EndpointConfig()
            )
        except ValueError as error:
            raise ServeFlagError(f"--chunk_ms: {error}") from error
        with Progress(f"{name}: compiling for {_STREAMS.value} streams", console):
            engine.compile()
        engines[name] = engine
    sizes = {(e.sample_rate_hz, e.chunk_samples) for e in engines.values()}
    if len(sizes) > 1:
        raise ServeFlagError("--model: the models take audio of different sample rates or chunks")
    return engines


if __name__ == "__main__":
    run(main)
