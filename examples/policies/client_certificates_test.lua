local admit = require "policies.client_certificates"
local fake = require "portreeve.fake"

local function asked(more)
  more.stage, more.listener = "identity", more.listener or "partners"
  local v, what = admit(fake.facts(more))
  return v == "allow" and v or v.because, what.tags[1]
end

local function good(more)
  local c = { certificate = "CN=anna,O=Partner", certificate_issuer = "CN=Partner CA,O=Partner", certificate_serial = "77",
              certificate_sha256 = ("0a"):rep(32), certificate_verified = true }
  for name, value in pairs(more or {}) do c[name] = value end
  return c
end

return {
  ["a good one comes in, and is tagged"] = function(t)
    local v, tag = asked(good())
    t.eq(v, "allow")
    t.eq(tag, "serial-77")
  end,
  ["others hear why not"] = function(t)
    t.eq(asked {}, "none was shown")
    t.eq(asked(good { certificate_verified = false, certificate_reason = "certificate has expired" }), "certificate has expired")
    t.eq(asked(good { certificate_issuer = "CN=Other CA" }), "it comes from another CA")
    local nameless = good { certificate_verified = true } -- alternative names only
    nameless.certificate = nil
    t.eq(asked(nameless), "allow")
    local long = good()
    long.certificate_serial = nil
    t.eq(asked(long), "its serial number is too long")
    t.eq(asked(good { certificate_serial = "1f0c" }), "lost with a laptop in May")
  end,
  ["other listeners ask for none"] = function(t) t.eq(asked { listener = "http" }, "allow") end,
}
