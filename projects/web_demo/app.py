# SPDX-License-Identifier: Apache-2.0
"""Serve a web page that analyzes faces in images and videos for manipulation.

Example:
  python projects/web_demo/app.py --checkpoint best.pth          and open http://127.0.0.1:7860
"""

from __future__ import annotations

import argparse
import socket
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.utils.cli import add_trust_option, run_tool
from iid_mm.utils.files import reason_of

if TYPE_CHECKING:
    from iid_mm.inference.sampling import Sampling
    from web_demo.upload_rules import Limits
    from web_demo.worker import Worker


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--checkpoint', required=True, help='checkpoint (.pth), or an exported model (.onnx)')
    parser.add_argument(
        '--config', help='config file or its name; default: the config stored in the checkpoint'
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: a GPU if available')
    parser.add_argument('--threshold', type=float, default=0.5, help='lowest probability of a fake (0.5)')
    parser.add_argument('--frames', type=int, default=32, help='frames of a video, evenly spaced (32)')
    parser.add_argument('--analyzer', default='mediapipe', choices=['mediapipe', 'insightface'])
    parser.add_argument('--model-dir', type=Path, help='folder of the insightface models')
    parser.add_argument('--no-examples', action='store_true', help='do not generate examples')
    add_trust_option(parser)
    server = parser.add_argument_group('server')
    server.add_argument('--host', default='127.0.0.1', help='address to bind to; 0.0.0.0 lets '
                        'other machines in, without password (127.0.0.1)')  # fmt: skip
    server.add_argument('--port', type=int, default=7860, help='0: any free one (7860)')
    server.add_argument('--max-mib', type=float, default=200, help='largest upload, MiB (200)')
    server.add_argument('--max-seconds', type=float, default=600, help='longest video, seconds (600)')
    server.add_argument(
        '--max-upload-seconds', type=float, default=1800, help='time limit of an upload (1800)'
    )
    server.add_argument(
        '--max-analysis-seconds', type=float, default=600, help='time limit of an analysis (600)'
    )
    server.add_argument(
        '--max-memory-gib',
        type=float,
        default=4,
        help='memory of an analysis on the CPU, in addition to that of the model (4)',
    )
    server.add_argument('--public-name', nargs='+', default=[], help='further host names of the page')
    server.add_argument(
        '--trusted-proxy',
        metavar='ADDRESS',
        help='address of a reverse proxy whose X-Forwarded-For identifies clients; default: '
        'the header is ignored',
    )
    return parser.parse_args()


def open_socket(host: str, port: int) -> socket.socket:
    """Bind to an address and listen.

    Raises:
        InputError: The address is not available.
    """
    if not 0 <= port < 2**16:
        raise InputError(f'--port {port}: give a number from 0 to 65535')
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
    except OSError as error:
        raise InputError(
            f'--host {host} --port {port}: cannot be bound ({reason_of(error)}); choose another'
        ) from error
    return bound


def main() -> int:
    args = parse_args()
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError.of('fastapi or uvicorn', 'web') from error
    from web_demo.upload_rules import Limits

    limits = Limits(
        args.max_mib,
        args.max_seconds,
        upload_seconds=args.max_upload_seconds,
        analysis_seconds=args.max_analysis_seconds,
        memory_gib=args.max_memory_gib,
    )
    # Before the model is loaded, which takes seconds.
    bound = open_socket(args.host, args.port)

    from iid_mm.apis import IIDInferencer
    from iid_mm.faces.analyzers import AnalyzerOptions
    from iid_mm.inference.sampling import Sampling

    sampling = Sampling(args.frames)
    if not Path(args.checkpoint).is_file():
        raise FileNotFoundError(f'checkpoint {args.checkpoint} does not exist')
    from web_demo.worker import Worker

    make = partial(
        IIDInferencer,
        args.config,
        args.checkpoint,
        args.device,
        analyzer=AnalyzerOptions(args.analyzer, args.model_dir),
        threshold=args.threshold,
        trust=args.trust_checkpoint,
        show_progress=False,
    )
    worker = Worker(make, sampling, limits.memory_gib)
    try:
        return serve(args, worker, sampling, limits, bound)
    finally:
        worker.close()


def serve(
    args: argparse.Namespace, worker: Worker, sampling: Sampling, limits: Limits, bound: socket.socket
) -> int:
    import uvicorn

    from web_demo.connections import GuardedProtocol
    from web_demo.examples import TOY
    from web_demo.server import create_app, is_local

    app = create_app(
        worker,
        analyze=worker.analyze,
        host=args.host,
        public_names=args.public_name,
        limits=limits,
        sampling=sampling,
        toy=None if args.no_examples else TOY,
    )
    host, port = bound.getsockname()[:2]
    shown = f'[{host}]' if ':' in host else host
    print(f'open http://{shown}:{port} in a browser; Ctrl+C stops the server', flush=True)
    if not is_local(args.host):
        print('everybody who can reach this address can use the page: there is no password', flush=True)
    config = uvicorn.Config(
        app,
        http=GuardedProtocol,
        ws='none',
        log_level='warning',
        timeout_graceful_shutdown=3,
        # By default uvicorn trusts every client on this machine.
        proxy_headers=args.trusted_proxy is not None,
        forwarded_allow_ips=args.trusted_proxy or '',
    )
    server = uvicorn.Server(config)
    try:
        server.run(sockets=[bound])
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == '__main__':
    sys.exit(run_tool(main))
