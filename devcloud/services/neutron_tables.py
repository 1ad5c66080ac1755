# SPDX-License-Identifier: Apache-2.0
"""Makes Neutron's tables.

Its migration scripts do not run on SQLite ("No support for ALTER of constraints in SQLite
dialect"), so this creates the tables of the current models, as Neutron's own tests do.
"""

import sys

import sqlalchemy
from neutron.common import config
from neutron.db.migration.models import head
from oslo_config import cfg
from oslo_db import options

config.register_common_config_options()
options.set_defaults(cfg.CONF)
cfg.CONF(sys.argv[1:], project="neutron")
engine = sqlalchemy.create_engine(cfg.CONF.database.connection)
head.get_metadata().create_all(engine)
print("tables:", len(sqlalchemy.inspect(engine).get_table_names()))
