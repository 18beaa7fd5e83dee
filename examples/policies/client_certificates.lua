-- Admission by client certificate: the listener `partners` asks callers for one (in listeners.ini: partners.ClientCertificate=Ask and
-- partners.ClientCA=FILE). Who shows a good one of the CA `Partner CA` comes in and is tagged with its serial number; others get a page
-- that says why. With Require nobody else would get that far: the handshake would end with an alert.
local admission = require "portreeve.admission"
local rule, rules, verdict = admission.rule, admission.rules, admission.verdict

local issuer = "CN=Partner CA,O=Partner"
local lost = { ["1f0c"] = "lost with a laptop in May" } -- serial numbers that are no good any more

return rules {
  rule.refuse_listed "denied",
  rule.banned(),
  rule.restriction(),
  rule.per_address(),
  rule.maximum(),
  rule.reserve "clients",
  rule.rates(),
  rule.at("identity", function(facts)
    local function no(why) return verdict.answer(403, "Your certificate does not open this: " .. why, why) end
    if not facts.certificate_sha256 then return no "none was shown" end
    if not facts.certificate_verified then return no(facts.certificate_reason or "nobody has verified it") end
    if facts.certificate_issuer ~= issuer then return no "it comes from another CA" end
    if not facts.certificate_serial then return no "its serial number is too long" end -- nobody could name it in `lost`
    if lost[facts.certificate_serial] then return no(lost[facts.certificate_serial]) end
    return verdict.tag("serial-" .. facts.certificate_serial:sub(1, 24))
  end, { listener = "partners" }),
}
