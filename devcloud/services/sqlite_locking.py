# SPDX-License-Identifier: Apache-2.0
"""SQLite under several OpenStack services at once.

oslo.db opens every transaction with a plain, deferred BEGIN. With a write-ahead log, a
transaction that has read and then writes after someone else's commit is refused at once with
"database is locked": the timeout for busy databases does not apply. So a writer's transaction
takes the write lock when it begins, where waiting works. Readers never wait and are left alone.

Older Glances open their sessions by oslo.db's first interface, which does not tell readers from
writers, and some inside others: all count as writers, and the outermost of a thread takes the lock.
"""

import threading

from oslo_db.sqlalchemy import enginefacade
from sqlalchemy import event, orm

_MARK = "devcloud_writer"
_NESTS = "devcloud_nests"
_outermost = threading.local()


def install(knows_writers=True):
    """Change oslo.db in this process. Call before the first session is made."""
    if not knows_writers:
        _mark_legacy_sessions()
        event.listen(orm.Session, "after_transaction_end", _forget_outermost)
    create_session = enginefacade._TransactionFactory._create_session

    def create_marked_session(self, mode, bind=None):
        session = create_session(self, mode, bind=bind)
        if mode is enginefacade._WRITER and bind is None:
            session.info[_MARK] = True
        return session

    enginefacade._TransactionFactory._create_session = create_marked_session
    event.listen(orm.Session, "after_begin", _take_write_lock)


def _mark_legacy_sessions():
    get_session = enginefacade.LegacyEngineFacade.get_session

    def get_marked_session(self, *args, **kwargs):
        session = get_session(self, *args, **kwargs)
        session.info[_MARK] = session.info[_NESTS] = True
        return session

    enginefacade.LegacyEngineFacade.get_session = get_marked_session


def _forget_outermost(session, transaction):
    if getattr(_outermost, "transaction", None) is transaction:
        _outermost.transaction = None


def _take_write_lock(session, transaction, connection):
    if session.info.get(_MARK) and not transaction.nested and connection.dialect.name == "sqlite":
        if session.info.get(_NESTS):
            if getattr(_outermost, "transaction", None):
                return
            _outermost.transaction = transaction
        raw = connection.connection.dbapi_connection
        raw.execute("ROLLBACK")  # of a BEGIN that has read nothing yet
        raw.execute("BEGIN IMMEDIATE")
