local admit = require "policies.device_certificates"
local fake = require "portreeve.fake"

local function said(facts)
  local v = admit(fake.facts(facts))
  return v == "allow" and v or v.refuse
end

return {
  ["verified, and one of theirs"] = function(t)
    local function with(more)
      more.stage, more.listener = "identity", more.listener or "partners"
      return said(more)
    end
    t.eq(with {}, "policy")
    t.eq(with { certificate = "CN=x", certificate_names = "a.partner.example" }, "policy", "shown, but not verified")
    t.eq(with { certificate = "CN=x", certificate_names = "b.example,a.partner.example", certificate_verified = true }, "allow")
    t.eq(with { certificate = "CN=x", certificate_names = "b.example", certificate_verified = true }, "policy")
    t.eq(with { listener = "http" }, "allow")
  end,
}
