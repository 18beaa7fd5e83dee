-- A device in front has asked callers for a certificate and tells its names in the PROXY header: on the listener `partners` only those
-- whose certificate was verified and names a host below partner.example.
local admission = require "portreeve.admission"
local rule, rules, verdict = admission.rule, admission.rules, admission.verdict

local below = ".partner.example"

return rules {
  rule.refuse_listed "denied",
  rule.banned(),
  rule.restriction(),
  rule.per_address(),
  rule.maximum(),
  rule.reserve "clients",
  rule.rates(),
  rule.at("identity", function(facts)
    if not facts.certificate_verified then return verdict.answer(403, "A certificate is wanted here.", "no verified certificate") end
    for name in (facts.certificate_names or facts.certificate):gmatch "[^,]+" do
      if name:sub(-#below) == below then return nil end
    end
    return verdict.answer(403, "Your certificate is not for this.", facts.certificate)
  end, { listener = "partners" }),
}
