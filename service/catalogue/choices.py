"""Where the bank's public documents disagree or say nothing: what this service does, by which setting it can be
changed, what supports the default, and what to ask the bank. Data only; docs/bank.md is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """One open point.

    ``setting`` is the path of a setting (``rules.top_up_amount``), empty where the choice is in the code and only a
    change of code would change it; ``does`` says then what the code does. ``supports`` names who says so.
    """

    point: str
    setting: str
    does: str
    supports: str
    question: str


CHOICES: tuple[Choice, ...] = (
    # Where sources disagree
    Choice(
        "6129 MemberFillAmt: what the payer paid, or what the member gets",
        "rules.top_up_amount",
        "",
        "quick start's example (pays 100, fee 10, gets 90); one client says net",
        "Is MemberFillAmt of 6129 gross or net of Commission? And SubOrderTranAmt of 6216?",
    ),
    Choice(
        "6129 before the reading of MemberFillAmt is confirmed",
        "rules.top_up_amount_confirmed",
        "",
        "one source against one (notes.md 13): a wrong reading would make every top-up with a fee wrong by its fee",
        "As above; set it with the bank's answer.",
    ),
    Choice(
        "6216 SubOrderTranAmt",
        "",
        "net of SubOrderTranFee; TranTotalAmt is the sum of both",
        "the quick start's formula for TranTotalAmt works with net amounts only",
        "As above.",
    ),
    Choice(
        "6244 MacAddress and repeats",
        "",
        "requires a MAC address from the caller; sends a click again after a lost answer; reads from flag 2 only"
        " whether the record is complete",
        "two clients; the quick start does not have 6244",
        "Is 6244 open to the platform? What goes into MacAddress if a page or a mini program cannot read it? May the"
        " same click be submitted twice?",
    ),
    Choice(
        "6034 FunctionFlag values",
        "",
        "sends 1, 2, 3, 6, 9",
        "quick start; clients know 4, 7 and 8 of other years",
        "Which flags of 6034 are open to the platform, and between which accounts?",
    ),
    Choice(
        "6034 flags 2 and 3 for a part of the order, and 6031 and 6052 flag 2",
        "rules.order_in_parts",
        "",
        "the quick start confirms and refunds whole orders, and mentions parts for other interfaces only; ERR126"
        " (amount differs) exists; no source says what happens to the rest",
        "May an order be confirmed or cancelled in parts, how often, and does the rest stay in escrow?",
    ),
    Choice(
        "6034 TranType SafeTrade_T0",
        "",
        "not sent: an order in escrow settles as rules.confirmed_money says",
        "one client sends it with flag 1 for escrow that settles on the same day",
        "Is TranType SafeTrade_T0 of 6034 flag 1 open, and is the payee's money withdrawable at once with it?",
    ),
    Choice(
        "6101 FunctionFlag values",
        "",
        "sends the flags of 6034",
        "one client; others list 6 and 9, or 1, 2, 3, 6; the quick start implies 2, 6, 9",
        "Which flags of 6101 are open?",
    ),
    Choice(
        "6007 FunctionFlag values",
        "",
        "sends 1 and 2, and 4 for money that an acquired order froze",
        "quick start; clients know 3 to 7",
        "Are flags 5 and 6 (withdrawable money) open?",
    ),
    Choice(
        "6082: where the receiving sub-account goes",
        "rules.sms_payee_field",
        "",
        "one client each for Remark and ReservedMsg",
        "In which field does 6082 name the receiving sub-account?",
    ),
    Choice(
        "6164 flag 6, refund of the fee: whose number OldOutSubAcctNo holds",
        "rules.fee_suffix",
        "",
        "the quick start (the fee sub-account as the old payer)",
        "Does a fee refund under flag 6 name the fee sub-account as OldOutSubAcctNo?",
    ),
    Choice(
        "6164 and 6061 OldTranSeqNo: printed with 20 characters",
        "",
        "sends the whole serial, 22 characters",
        "a CnsmrSeqNo has 22 characters",
        "Are 22 characters accepted?",
    ),
    Choice(
        "6037 SubAcctFreezeAmt",
        "rules.frozen_amount_includes_escrow",
        "",
        "the OpenAPI's wording (frozen); the direct-link text says pending or frozen",
        "Does SubAcctFreezeAmt include prepaid orders?",
    ),
    Choice(
        "6114 DayFreezeBal, file YE",
        "",
        "reported as the bank gives them, never compared with the mirror",
        "no source says which balance YE holds",
        "Which balance is in the file YE, and does DayFreezeBal include prepaid orders?",
    ),
    Choice(
        "6033 document type and number",
        "",
        "optional",
        "two newer clients; older documents have them mandatory",
        "Does 6033 need MemberGlobalType and MemberGlobalId?",
    ),
    Choice(
        "6033 fee",
        "",
        "the fee of an unverified withdrawal travels in ReservedMsg of 6033; a verified one has a field for it",
        "three clients send it so; the quick start gives fees to 6085 (notes.md 9.12)",
        "May 6033 carry a fee?",
    ),
    Choice(
        "Account names in 6034 and 6101",
        "",
        "not sent; in 6006 and 6031 the bank's own names are sent",
        "two newer clients; older documents have them mandatory",
        "Do 6034 and 6101 need OutSubAcctName and InSubAcctName?",
    ),
    Choice(
        "6139 and 6140 TranFee",
        "",
        "as the caller states it, 0 when left out",
        "charged in two clients, unused in one",
        "Is TranFee of 6139 charged, and may the target be a functional sub-account?",
    ),
    Choice(
        "6048 FunctionFlag",
        "",
        "1 for returned withdrawals",
        "two newer clients (2 is returned binding pay-outs); older ones have 1 for the current day",
        "What does FunctionFlag of 6048 choose?",
    ),
    Choice(
        "6050 FunctionFlag of earlier days",
        "",
        "0; the present day is queried with 1, and also with 0 if that lists nothing",
        "three sources; one has 2",
        "Is history 0 or 2 in 6050?",
    ),
    Choice(
        "AcquiringChannelType",
        "",
        "takes 01 to 04 and YST1",
        "three sources have 01 to 04, two have 01 and YST1",
        "Which channel types does the platform have?",
    ),
    Choice(
        "Key of the rows in OrderRemark",
        "",
        "writes oderlist, reads orderlist as well",
        "all clients; one answer of the bank has orderlist",
        "Is the key of the rows oderlist, and are double quotes required?",
    ),
    Choice(
        "How long OrderRemark may be",
        "",
        "300 characters for the payment interface and refunds, 2500 for the cashier page, as the caller names it",
        "quick start 2.4 has 300; one client has 2500 for the cashier page",
        "How long may OrderRemark be in each product, in characters or in bytes?",
    ),
    Choice(
        "Form of OrderRemark for a plain order",
        "",
        "SFJOrdertype 0 with one row of SubAccNo, PayModel and TranFee, for JHS and SDS alike; a refund is always 1",
        "working clients; chapter 7.6 of 见证+收单, which defines it, is not public",
        "What does chapter 7.6 of 见证+收单 say of each SFJOrdertype and remarktype?",
    ),
    Choice(
        "6110 TranDate",
        "",
        "the bank day of the call, once it is three days old; not sent for newer calls",
        "most sources do not send it; one needs it for flag 2 beyond three days",
        "Must 6110 name the day of transactions older than three days, and may it for newer ones?",
    ),
    Choice(
        "Document type 5",
        "",
        "73 is the unified social credit code, 5 a Taiwan permit",
        "three clients; one uses 5 for the credit code",
        "Which document types are valid?",
    ),
    Choice(
        "6093 input",
        "",
        "SubAcctNo",
        "three sources; one sends TranNetMemberCode",
        "",
    ),
    Choice(
        "Field lengths: two families",
        "",
        "sends within the shorter length, reads up to the longer one",
        "catalogue, length_rule",
        "Which edition of the interface document applies to the platform?",
    ),
    Choice(
        "ResultNum and TotalNum of lists",
        "",
        "not read: pages are counted by EndFlag and the length of the array",
        "labels and lengths contradict each other",
        "",
    ),
    Choice(
        "CnsmrSeqNo of answers",
        "",
        "an answer without the request's own CnsmrSeqNo, signed, proves nothing: a call is in doubt, a query has no"
        " result",
        "every client and the bank's SDK see it echoed; some samples of queries in the documents have it empty",
        "Does every answer, of queries too, repeat the request's CnsmrSeqNo inside what is signed?",
    ),
    Choice(
        "Signed texts that hold other fields",
        "",
        "a text with an & and an = behind it is refused in a request; an answer is not believed if a field name has &"
        " or =, or if a text holds & and the name of a field that is read and =. Rows of lists are let pass, as a payer"
        " writes their remarks",
        "k=v&k=v& has no escapes, so a signed text can be cut into other fields without a key",
        "Does the gateway refuse a request in which a name or text holds & or =? Does it remove them from remarks that"
        " payers write? Is there a signature over the whole body (SM2, the newer SDK) for this product, and one that"
        " covers every row of a list?",
    ),
    Choice(
        "JSON numbers in answers",
        "",
        "an answer with a number in a field that is read is not valid: the outcome of a call is in doubt, a query has"
        " no result",
        "every published type is text, and the signature skips numbers",
        "Does any answer carry a JSON number instead of a text?",
    ),
    Choice(
        "6110 TranAmt",
        "",
        "a success counts for the request if its amount is the request's, or that plus or minus the fee; any other"
        " amount leaves the request in doubt",
        "catalogue: fee included; which fees come on top is open (6129)",
        "Is TranAmt of 6110 gross for 6033, 6129, 6130, 6216 and 6217, too?",
    ),
    Choice(
        "FrontSeqNo of inflows (6050, 6048)",
        "",
        "a row whose serial does not begin with a date is reported as a problem and not entered",
        "the first six digits are the booking date (quick start, 6164)",
        "Does every FrontSeqNo begin with yyMMdd?",
    ),
    Choice(
        "FrontSeqNo of the rows of one call",
        "",
        "the rows of an answer to 6216 or 6217 are taken in the order of the request; the rows of 6052 and 6163, whose"
        " answer has one serial, all get that one unless 6072 lists them. Files are matched by CnsmrSeqNo first",
        "the fields of the answers (quick start); no source says the order",
        "Are the rows of the answers to 6216 and 6217 in the order of the request? Which FrontSeqNo have the rows of"
        " 6052 and 6163 in the reconciliation files: that of the call, or one each?",
    ),
    Choice(
        "TxnCode prefix",
        "bank.txn_code_prefix",
        "",
        "every program; the quick start prints KEJZB",
        "KEJZB or KFEJZB?",
    ),
    Choice(
        "approveDev: how the certificate's subject is written",
        "bank.dn_style",
        "",
        "both forms seen in working clients",
        "",
    ),
    Choice(
        "Public fields of every request",
        "bank.extra_public_fields",
        "",
        "the SDK of 1.0.7; no client's value seems to be checked",
        "Which values do ApiVersionNo, RequestMode and ValidTerm have for SDK 1.1.0?",
    ),
    Choice(
        "6103 FilePath: with the file's name or without",
        "",
        "takes both: FileName is added unless FilePath ends in a file",
        "quick start joins them; three clients find the name in FilePath",
        "",
    ),
    Choice(
        "When the files of a day are there (6103)",
        "reconciliation.files_from_hour",
        "",
        "no source names an hour; the bank's batch runs in the small hours, and its clearing from 8:00 on",
        "From which hour are CZ, TX, JY and YE of the day before ready, and may they be late at a month's end?",
    ),
    Choice(
        "From when on a file that has not come is late (6103)",
        "reconciliation.files_late_hour",
        "",
        "no source",
        "By which hour does the bank promise the files, and how does it report a delay?",
    ),
    Choice(
        "Whether a day without a file had no bookings (6103)",
        "",
        "believes it only where the journal has no booking that belongs into the file; else the file is late, and after"
        " a further day (reconciliation.again_after_s) each booking is a break",
        "quick start and clients: an empty day has no file, or an .ok file alone; one that is not made yet looks alike",
        "How does 6103 tell a day without bookings from a file that is not made yet?",
    ),
    Choice(
        "Whether the bank changes a file that it has given out (6103)",
        "reconciliation.again_after_s",
        "",
        "no source; a file is fetched once more, and a changed one supersedes the one before",
        "May a file of a past day change, until when, and how is that announced?",
    ),
    Choice(
        "Where pieces of a file are fetched",
        "bank.file_piece_url",
        "",
        "the bank's SDK of 1.0.6 and 1.0.7, which was run, and two ports: at the address that granted access",
        "",
    ),
    Choice(
        "File CZ and TX: 12 or 13 columns",
        "",
        "accepts both, decided by most rows of the file; reports which",
        "samples of 2022 have 13, one client lists 12",
        "What are the columns of each reconciliation file, and is there a header or a total line?",
    ),
    Choice(
        "Member code of an account that is no member's, in the files",
        "",
        "takes its number for a code, or no code, for nobody: a line with the fee account or the parking account on one"
        " side agrees with a posting that has one member; in YE it is a break",
        "6050 shows functional accounts with their number for a code; no file with one is public",
        "Which member code do CZ, TX, JY and YE have for functional sub-accounts, and does YE list them?",
    ),
    Choice(
        "Day of a line in the files",
        "",
        "a line with the serial and the amount of a posting of the file's day agrees with it, whatever day it names",
        "samples have the day of the file in each line",
        "May a line of CZ, TX or JY have another day than its file, and which of the two is the bank day?",
    ),
    # No public source
    Choice(
        "Service ids of 6133, 6134, 6165 and 6167",
        "bank.service_ids",
        "",
        "no public source; without an entry the interface is refused locally",
        "What are the service ids and field lists of 6133, 6134, 6165 and 6167?",
    ),
    Choice(
        "Which verification modes are open",
        "rules.verification",
        "",
        "the three documents of the bank; a platform has one or several",
        "Which of the three modes has the bank opened?",
    ),
    Choice(
        "6052 flag 3 (pay directly in a batch)",
        "rules.batch_direct_pay",
        "",
        "quick start says it is not offered",
        "Is flag 3 of the batch interfaces open?",
    ),
    Choice(
        "6217 SubOrderRefundOrderNo",
        "rules.revoked_order",
        "",
        "no source; the field's name allows both",
        "Does SubOrderRefundOrderNo repeat the original SubOrderNo or bring a new number?",
    ),
    Choice(
        "Which day's in-transit money a revoked top-up changes (6130, 6217)",
        "",
        "the day of the revocation, before and after the clearing of the top-up's day; a day with more revoked than"
        " topped up has a negative total, which the pooled account pays out",
        "6108 has one record for each day, of what was booked on it; the catalogue names the account only",
        "Which day's TotalAmt of 6108 does a revocation lower, and what if it falls below zero?",
    ),
    Choice(
        "Where the fee part of 6217 comes from",
        "",
        "the fee sub-account",
        "catalogue; it may be a pay-in/pay-out account, depending on set-up",
        "Which account pays SubOrderFeeRefundAmt?",
    ),
    Choice(
        "6164 while the bank searches its history: how long and how often to send it again",
        "resolver.send_again_interval_s",
        "",
        "quick start: about every 5 minutes; neither the code with the message nor a limit is published",
        "Which code comes with 正在尝试查询历史数据, and after how long does the payment certainly not exist?",
    ),
    Choice(
        "When money of a returned withdrawal may be withdrawn again (6048)",
        "",
        "after the clearing of the day of the return; a fee stays paid",
        "catalogue: a new inflow that raises available; a fee is not mentioned",
        "Is a returned withdrawal withdrawable at once, and is the fee given back?",
    ),
    Choice(
        "When transferred money of a member may be withdrawn (6050, InAcctType 02)",
        "rules.transferred_money",
        "",
        "no source; after the clearing of its day, as for returned withdrawals, is the cautious reading",
        "Is a transfer from a bound card withdrawable at once?",
    ),
    Choice(
        "Which rows of 6050 are not transfers of payers",
        "",
        "skips 03 with 跨行支付本金清算 in Remark (the clearing enters it), 见证+收单充值 there or ,ORDER at its end"
        " (acquiring), and a FrontSeqNo that 6048 gives as PayeeFrontSeqNo on the same day (a returned withdrawal)",
        "catalogue 6050; the meaning of the fields suggests that both lists give a return the same serial",
        "How does 6050 mark clearing principal, acquiring credits and returns, and do 6048 and 6050 give a return the"
        " same FrontSeqNo?",
    ),
    Choice(
        "To which transfer a suspense allocation belongs (6139)",
        "",
        "the caller names it; the bank does not get it, since its suspense account is one sum",
        "6139 has no field for it",
        "",
    ),
    Choice(
        "How much 6140 may reverse, and from which money",
        "",
        "CancelAmt within what is left of SuspendAmt, TranFee within the fee that is left; out of withdrawable money",
        "catalogue 6140",
        "Does 6140 also take uncleared money when the withdrawable money does not suffice?",
    ),
    Choice(
        "Whether OrderNo of 6139 shares its numbers with 6034 and 6007",
        "",
        "yes: one number is used once on the platform",
        "catalogue: globally unique",
        "",
    ),
    Choice(
        "Number of the fee sub-account",
        "rules.fee_suffix",
        "",
        "quick start, 6164 flag 6",
        "Which functional sub-accounts does the platform have, with which numbers?",
    ),
    Choice(
        "Which account advances fee refunds",
        "rules.own_funds_property",
        "",
        "catalogue: property 10 is own settlement; the quick start names the account only",
        "Which account is 退款垫款户, and with which SubAcctProperty does 6010 list it?",
    ),
    Choice(
        "Number and property of the account that parks acquired orders",
        "rules.parking_property",
        "",
        "no source; 22 is a special suspense account that some platforms have",
        "With which number and SubAcctProperty does 6010 list the dedicated sub-account of an acquiring channel?",
    ),
    Choice(
        "Which sub-account in OrderActInSubAcctNo of 6146 means that an order was parked",
        "",
        "any that belongs to no member of the mirror",
        "catalogue: differs from OrderInSubAcctNo when the money was parked; the number is not public",
        "As above; and which TranStatus does a parked order have?",
    ),
    Choice(
        "What a parked order holds, and what 6145 books",
        "",
        "the whole share is parked; 6145 names the whole share; then the fee goes to fees, and a frozen share is"
        " frozen for the right member",
        "quick start: the order is booked again; the catalogue names no fee and no freeze",
        "Is TranFee taken when an order is parked or when 6145 books it again, and does PayModel 0 still apply?",
    ),
    Choice(
        "When money that 6145 has moved may be withdrawn",
        "",
        "after the clearing of the day of the 6145; after a lost answer, of the day on which 6146 shows the move",
        "no source",
        "Is money moved by 6145 withdrawable after the order's day, or after that of the 6145? Does 6146 then name the"
        " serial and the day of the 6145?",
    ),
    Choice(
        "Whether 6145 moves an order that was credited to a wrong member",
        "",
        "the bank decides; the mirror requires that the money is still there",
        "quick start and catalogue mention parked money only",
        "May 6145 take an order from a member who was credited by mistake?",
    ),
    Choice(
        "Under which number a share with PayModel 0 is frozen",
        "",
        "that of the share: suborderId, or TraderOrderNo for a plain order",
        "6145 and 6146 know the share by it",
        "Which OrderNo do 6007 flag 4 and 6163 name for money that an acquired order froze?",
    ),
    Choice(
        "TranAmt of 6146",
        "",
        "the share, CommissionAmt inside",
        "subamount of the remark includes the fee",
        "Is TranAmt of 6146 gross of CommissionAmt?",
    ),
    Choice(
        "6163 Commission: on top of the rows, or out of them",
        "",
        "on top, out of the same frozen order",
        "the refund rules of 6164 give the commission a serial of its own",
        "Does Commission of 6163 come on top of the rows?",
    ),
    Choice(
        "How many payees 6163 takes",
        "rules.payees_max",
        "",
        "return code EF0048: payees must be 1 to 5",
        "How many rows may one call of 6163 have?",
    ),
    Choice(
        "The fee of a share that an acquired order freezes (PayModel 0)",
        "rules.acquired_fee",
        "",
        "catalogue 6007 flag 4: the fee named there is the fee of the acquired order, not of the release; so the whole"
        " share is frozen until then. A release has no other fee, and the first release or payment takes the whole fee",
        "Is a share with PayModel 0 frozen with or without its fee? When is the fee taken, in parts or at once? Which"
        " TranCommission does 6007 flag 4 name, which Commission 6163?",
    ),
    Choice(
        "When money of 6034 flag 2 may be withdrawn",
        "rules.confirmed_money",
        "",
        "the quick start's T+1 for payments; no source for flag 2 and 6163",
        "When is money of 6034 flag 2 and of 6163 withdrawable?",
    ),
    Choice(
        "Which part of available money a payment takes first",
        "rules.spend_order",
        "",
        "no source",
        "Does a T+1 payment take waiting or withdrawable money first?",
    ),
    Choice(
        "How long a payment can be refunded",
        "rules.refund_window_days",
        "",
        "quick start: 30 days, more by agreement",
        "Which refund window has the bank configured?",
    ),
    Choice(
        "Which codes are clean refusals",
        "bank.clean_refusals",
        "",
        "93 codes whose published meaning is a fault that was found before anything moved. After any other code, 6110"
        " (or another query that shows the call) decides before a hold is given back: published lists call a dozen of"
        " these codes exceptions, one of them followed by a reversal",
        "Which return codes prove that nothing was booked and nothing will be? Please give the whole table.",
    ),
    Choice(
        "Whether a member may be closed while something may still be given back to it or by it",
        "rules.close_while_refundable",
        "",
        "no source; after 6000 flag 3 every call that names the member ends ERR031",
        "Is a refund (6164), a revocation (6130, 6217) or a reversed suspense allocation (6140) possible after 6000"
        " flag 3 of one side?",
    ),
    Choice(
        "When the bank closes a member",
        "",
        "not while it has money, orders to collect, operations under way, withdrawals of the last `returns.days` or"
        " bound cards; a linked member of the same name is no obstacle",
        "published error codes: ERR095 balance, ERR214 unfinished orders, ERR252 bound cards",
        "Does 6000 flag 3 refuse (ERR214) while the member is the payee of a prepaid order? What happens to a"
        " withdrawal that is returned (6048) afterwards, and to a linked member (6167)?",
    ),
    Choice(
        "How many ERR020 of 6110 mean that nothing happened",
        "resolver.not_found_times",
        "",
        "quick start: several, 3 to 5 minutes apart",
        "After how many ERR020 does a transaction certainly not exist?",
    ),
    Choice(
        "Lifetime of an access token",
        "bank.token_renew_s",
        "",
        "one client's two hours; not published",
        "How long does an access token live, and does a new one end the old?",
    ),
    Choice(
        "How many calls at once the gateway takes",
        "bank.max_connections",
        "",
        "no source",
        "How many connections, and how many calls a second, does the gateway allow, for each interface and in all?",
    ),
    Choice(
        "Password of the file user",
        "bank.file_password",
        "",
        "the quick start's sample decrypts to the uid",
        "",
    ),
)
"""In the order of the documents: disagreements first, then what is not public."""
