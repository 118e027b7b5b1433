"""Every interface of the bank as a typed message, one class a request (catalogue.yaml).

A request class says its interface code, service id and reply, and registers itself: `REQUESTS` finds it by code and
`REQUESTS_BY_SERVICE_ID` by the last part of the address. Interfaces without a public service id are
in the first table only. Read a message with `from_wire`, write it with `to_wire`.

All that these modules define is public here and in `bankclient`; a new module needs a line below.
"""

from bankclient.messages.acquiring import *
from bankclient.messages.batches import *
from bankclient.messages.cards import *
from bankclient.messages.files import *
from bankclient.messages.freezes import *
from bankclient.messages.members import *
from bankclient.messages.payments import *
from bankclient.messages.queries import *
from bankclient.messages.refunds import *
from bankclient.messages.statements import *
from bankclient.messages.suspense import *
from bankclient.messages.topups import *
from bankclient.messages.trial_transfer import *
from bankclient.messages.verification import *
from bankclient.messages.wire import *
from bankclient.messages.withdrawals import *
