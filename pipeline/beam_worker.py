"""A worker for engines in other processes: `python -m pipeline.beam_worker --port 50000`.

An engine (Flink's or Spark's task manager, a job server) asks it to start Beam workers, which run
in this process, with this environment: `--beam-option environment_type=EXTERNAL --beam-option
environment_config=localhost:50000`. Beam's own `worker_pool_main` listens on every address, and
the Python processes that it starts cannot import TFDV, which needs TFX first.
"""

import argparse
import threading
from concurrent.futures import ThreadPoolExecutor

import tfx  # noqa: F401  TFDV imports only after it


def main() -> None:
    """Serves until it is ended."""
    import grpc
    from apache_beam.portability.api import beam_fn_api_pb2_grpc
    from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="(default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=50000, help="0 for a free one")
    options = parser.parse_args()
    server = grpc.server(ThreadPoolExecutor(thread_name_prefix="worker-pool"))
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(
        BeamFnExternalWorkerPoolServicer(use_process=False), server
    )
    port = server.add_insecure_port(f"{options.host}:{options.port}")
    server.start()
    print(f"serving Beam workers on {options.host}:{port}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
