"""Where a worker process begins: it is bound to its parent before torch is imported, which takes seconds."""

from __future__ import annotations

import pickle
from multiprocessing.connection import Connection

from attrobust.children import belong_to_parent


def begin(connection: Connection, setup: bytes) -> None:
    """Carry out jobs, see ``process.serve``.

    Args:
        connection: of which jobs are received, and messages sent.
        setup: a pickled ``process.Setup``.
    """
    belong_to_parent()
    from attrobust.benchmark.executors.process import serve

    serve(connection, pickle.loads(setup))
