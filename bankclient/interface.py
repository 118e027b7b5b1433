"""What others may use of this package and what takes long to load: the client, the messages, signing, files.

`bankclient/__init__.py` gives it on, and loads it when something of it is first used.
"""

from bankclient.canonical import canonical_string as canonical_string
from bankclient.client import Around as Around
from bankclient.client import BankClient as BankClient
from bankclient.evidence import NO_EVIDENCE as NO_EVIDENCE
from bankclient.evidence import Evidence as Evidence
from bankclient.evidence import signed_parts as signed_parts
from bankclient.files import BadRow as BadRow
from bankclient.files import Contradiction as Contradiction
from bankclient.files import Examined as Examined
from bankclient.files import FileRow as FileRow
from bankclient.files import LineReader as LineReader
from bankclient.files import NoFile as NoFile
from bankclient.files import OpenFile as OpenFile
from bankclient.files import SealedFile as SealedFile
from bankclient.files import examine as examine
from bankclient.files import fetch_sealed as fetch_sealed
from bankclient.files import opened as opened
from bankclient.messages import *
from bankclient.outcome import CLEAN_REFUSALS as CLEAN_REFUSALS
from bankclient.outcome import HISTORY_MESSAGE as HISTORY_MESSAGE
from bankclient.outcome import NO_RECORD as NO_RECORD
from bankclient.outcome import OTHER_CODE as OTHER_CODE
from bankclient.outcome import RETRY_AFTER_S as RETRY_AFTER_S
from bankclient.outcome import SUCCESS_CODE as SUCCESS_CODE
from bankclient.outcome import TOKEN_CODES as TOKEN_CODES
from bankclient.outcome import UNKNOWN_CODES as UNKNOWN_CODES
from bankclient.outcome import Answer as Answer
from bankclient.outcome import AnswerOutcome as AnswerOutcome
from bankclient.serials import booking_date as booking_date
from bankclient.serials import consumer_serial as consumer_serial
from bankclient.serials import days_of_serial as days_of_serial
from bankclient.serials import is_consumer_serial as is_consumer_serial
from bankclient.serials import row_serial as row_serial
from bankclient.settings import CLIENT_FIELDS as CLIENT_FIELDS
from bankclient.settings import BankSettings as BankSettings
from bankclient.signing import BankCertificate as BankCertificate
from bankclient.signing import DnStyle as DnStyle
from bankclient.signing import Identity as Identity
from bankclient.signing import escape_for_approve as escape_for_approve
from bankclient.signing import sign as sign
from bankclient.signing import unescape_from_approve as unescape_from_approve
from bankclient.signing import verify as verify
from bankclient.words import HIDDEN as HIDDEN
from bankclient.words import masked as masked
