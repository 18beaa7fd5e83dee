local admit = require "policies.old_tls"
local fake = require "portreeve.fake"

return {
  ["1.2 is for pictures"] = function(t)
    local _, more = admit(fake.facts { stage = "identity", tls = "TLSv1.2" })
    t.eq({ more.only, more.tags }, { { tracker = true }, { "old-tls" } })
    _, more = admit(fake.facts { stage = "identity", tls = "TLSv1.3" })
    t.eq({ more.only, #more.tags }, { nil, 0 })
  end,
}
