-- Who comes in.
--
-- The rules below are asked from top to bottom, for every caller, right after he has called and before a byte is read or sent. The first
-- that refuses decides; whom none refuses comes in. A refused caller sees the connection closed, nothing else (G14); the log and
-- `portreeve why ADDRESS` tell the rule's line and the line of the list.
--
-- What stands behind two dashes is a remark. To put a rule in force, take its dashes away; to take one out, put dashes before it.
-- Numbers are in conf/listeners.ini, addresses in the lists of conf/lists. After a change: `portreeve check`, then `portreeve reload`.
local admission = require "portreeve.admission"
local rule, rules = admission.rule, admission.rules

return rules {
  -- Denied addresses: nobody in lists/denied.list comes in anywhere (G10).
  rule.refuse_listed "denied",

  -- Banned addresses: those of `portreeve ban`, until their time has passed.
  rule.banned(),

  -- Restriction (NAME.Restriction and NAME.List): None = everybody, Grant = only those in the list, Deny = all but those (G9, G11, G12).
  rule.restriction(),

  -- Limit of connections from the same address (NAME.MaxPerAddress). Those in lists/cluster.list are not limited (G24, G25).
  rule.per_address(),

  -- Limit of connections of the listener (NAME.MaxConnections), for clients too (G27).
  rule.maximum(),

  -- Reserve of connections for clients (NAME.Reserve): the last places are for those in lists/clients.list (G26).
  rule.reserve "clients",

  -- How often an address, or a net, may connect, begin TLS and send requests (NAME.RateConnections, NAME.RateRequestsPerNet …); not for
  -- those in lists/cluster.list.
  rule.rates(),

  -- Some more rules, out of force as shipped. There is a book of them in examples/policies (/usr/share/portreeve).
  --
  -- On the listener named `secure` only clients; others get a page that says so, and are closed (G15):
  -- rule.clients_only("clients", { listener = "secure" }),
  --
  -- On the listener named `front`, who is not in lists/office.list reaches the tracker only, not the pages of ui and hub:
  -- rule.only("tracker", { listener = "front", except = "office" }),
  --
  -- A rule of your own is a function of what is known about the caller (examples/policies/README.md); nil leaves the word to the next:
  -- rule.at("hello", function(facts)
  --   if facts.sni == nil then return admission.verdict.refuse("policy", "no name asked for") end
  -- end),
}
