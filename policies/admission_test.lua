-- Proves admission.lua: runs in the sandbox at every reload and `portreeve check`, and in `make test`.
local admit = require "policies.admission"
local fake = require "portreeve.fake"

local function reason(facts)
  local v = admit(fake.facts(facts))
  return v == "allow" and v or v.refuse, v ~= "allow" and v.because or nil
end

local function lists(name, line, address)
  return { [name] = { [address or "192.0.2.1"] = line } }
end

return {
  ["without limits everybody comes in (G9)"] = function(t)
    t.eq(reason {}, "allow")
  end,
  ["the denied list comes first, even before a grant (G10)"] = function(t)
    local l = lists("denied", "conf/lists/denied.list:7")
    l.office = { ["192.0.2.1"] = "conf/lists/office.list:1" }
    local why, because = reason { restriction = "grant", list = "office", lists = l }
    t.eq({ why, because }, { "denied", "conf/lists/denied.list:7" })
  end,
  ["who is banned does not come in"] = function(t)
    local why, because = reason { ban = "ban 192.0.2.1 for ever by ada: scraping" }
    t.eq({ why, because }, { "banned", "ban 192.0.2.1 for ever by ada: scraping" })
  end,
  ["who comes too often is refused at the stage where he does, and members of the cluster are not"] = function(t)
    t.eq(reason { over = { connections = "x" } }, "rate")
    t.eq(reason { over = { handshakes = "x", requests = "x" } }, "allow", "nothing of later stages at the first")
    t.eq(reason { stage = "hello", over = { handshakes = "x" } }, "rate")
    local v = admit(fake.facts { stage = "request", over = { requests = "x" } })
    t.eq({ v.refuse, v.how, v.status }, { "rate", "answer", 429 })
    t.eq(reason { stage = "request", over = { requests = "x" }, lists = lists("cluster", "x:1") }, "allow")
  end,
  ["grant: only those in the list, an empty list is nobody (G11)"] = function(t)
    t.eq(reason { restriction = "grant", list = "office", lists = lists("office", "conf/lists/office.list:1") }, "allow")
    t.eq(reason { restriction = "grant", list = "office", lists = { office = {} } }, "restriction")
    local why, because = reason { restriction = "grant", list = "office", lists = lists("office", { out = "conf/lists/office.list:4" }) }
    t.eq({ why, because }, { "restriction", "conf/lists/office.list:4" }, "the excluding line is named")
  end,
  ["deny: all but those, an empty list is everybody (G12)"] = function(t)
    t.eq(reason { restriction = "deny", list = "bad", lists = { bad = {} } }, "allow")
    local why, because = reason { restriction = "deny", list = "bad", lists = lists("bad", "conf/lists/bad.list:2") }
    t.eq({ why, because }, { "restriction", "conf/lists/bad.list:2" })
  end,
  ["N connections of one address come in, N+1 does not (G24)"] = function(t)
    t.eq(reason { per_address = 3, active_from_address = 3 }, "allow")
    t.eq(reason { per_address = 3, active_from_address = 4 }, "per-address")
    t.eq(reason { per_address = 0, active_from_address = 4000 }, "allow", "0 is no limit")
  end,
  ["members of the cluster are not limited per address (G25)"] = function(t)
    local l = lists("cluster", "conf/lists/cluster.list:1")
    t.eq(reason { per_address = 3, active_from_address = 400, lists = l }, "allow")
    t.eq(reason { per_address = 3, active_from_address = 400, maximum = 100, active = 101, lists = l }, "maximum", "but counted")
  end,
  ["the maximum holds for clients too (G27)"] = function(t)
    t.eq(reason { maximum = 10, active = 10 }, "allow", "the tenth place")
    t.eq(reason { maximum = 10, active = 11 }, "maximum")
    t.eq(reason { maximum = 10, active = 11, lists = lists("clients", "x:1") }, "maximum")
  end,
  ["as many places free as are reserved, or fewer: clients only (G26)"] = function(t)
    -- active counts this connection: with 7 others and 10 places, 3 are free.
    t.eq(reason { maximum = 10, reserve = 3, active = 7 }, "allow", "4 free")
    t.eq(reason { maximum = 10, reserve = 3, active = 8 }, "reserve", "3 free: exactly at the border")
    t.eq(reason { maximum = 10, reserve = 3, active = 8, lists = lists("clients", "x:1") }, "allow", "a client")
    t.eq(reason { maximum = 10, reserve = 0, active = 10 }, "allow", "reserve 0")
    t.eq(reason { maximum = 10, reserve = 10, active = 1 }, "reserve", "reserve = maximum: clients only")
    t.eq(reason { maximum = 10, reserve = 20, active = 1, lists = lists("clients", "x:1") }, "allow")
    t.eq(reason { maximum = 0, reserve = 5, active = 1 }, "allow", "no maximum, no reserve")
  end,
}
