-- Remembered decisions as the console shows them.
--   offer(functions, engine, as_list, session): adds refusals(), decisions{…}, why() and would{…} to the console's functions
local would = require "portreeve.would"
local error, ipairs, pairs, tostring, type = error, ipairs, pairs, tostring, type
local math_type = math.type
local concat, sort = table.concat, table.sort
local date, format = os.date, string.format
local _ENV = nil

local EXAMPLES = 4
-- What decisions{…} may be asked, and of which type.
local asked = { address = "string", listener = "string", reason = "string", verdict = "string", stage = "string", refused = "boolean",
                last = "number", from_ms = "number", to_ms = "number" }

local callers = { address = true, listener = true, local_address = true, port = true, sni = true, alpn = true, ja4 = true,
                  certificate = true, certificate_issuer = true, certificate_names = true, method = true, path = true, host = true,
                  at_ms = true }

local function example(group, address)
  for _, a in ipairs(group.addresses) do
    if a == address then return end
  end
  if #group.addresses < EXAMPLES then group.addresses[#group.addresses + 1] = address end
end

local function groups(list)
  local by, out = {}, {}
  for _, d in ipairs(list) do
    local key = d.reason .. " " .. d.listener
    local g = by[key]
    if not g then
      -- The first of a group is the newest: it stands for all.
      g = { reason = d.reason, listener = d.listener, count = 0, ms = d.ms, stage = d.stage, because = d.because, policy = d.policy,
            by = d.list ~= d.because and d.list or d.entry, addresses = {} }
      by[key], out[#out + 1] = g, g
    end
    g.count = g.count + 1
    example(g, d.address)
  end
  for _, g in ipairs(out) do
    g.addresses = concat(g.addresses, " ")
  end
  sort(out, function(a, b) return a.count > b.count or a.count == b.count and a.ms > b.ms end)
  return out
end

-- What is so for every decision (its id) or follows from another field is left to --json of `portreeve why`.
local left_out = { id = true, us = true, time = true, port = true, local_port = true, ["local"] = true }

local function rows(list)
  local out = {}
  for i, d in ipairs(list) do
    out[i] = {}
    for k, v in pairs(d) do
      if not left_out[k] then out[i][k] = v end
    end
  end
  return out
end

local function nothing(address, room, oldest_ms)
  if room == 0 then return "decisions are not remembered here: Decisions=0 in portreeve.ini" end
  if oldest_ms == 0 then return "nothing is remembered yet" end
  return format("nothing is remembered of %s; the memory goes back to %s (`portreeve why` looks into the files, too)", address,
    date("%Y-%m-%d %H:%M:%S", oldest_ms // 1000))
end

local function wanted(q)
  local out = { limit = 20 }
  for k, v in pairs(q or {}) do
    if asked[k] ~= type(v) then
      error(format("decisions{…}: %s is no question; there are address, listener, reason, verdict, stage, refused, last", tostring(k)), 3)
    end
    out[k == "last" and "limit" or k] = math_type(v) == "float" and v // 1 | 0 or v
  end
  return out
end

local function offer(f, engine, as_list, session)
  function f.refusals(n)
    if n ~= nil and math_type(n) ~= "integer" then
      error("refusals wants how many decisions to look at: refusals(1000); decisions{…} chooses", 2)
    end
    return as_list(groups(engine.decisions { refused = true, limit = n or 20000 }.list))
  end
  function f.decisions(q)
    return as_list(rows(engine.decisions(wanted(q)).list))
  end
  function f.why(address, n)
    if type(address) ~= "string" then error("why wants an address or a prefix as text: why('192.0.2.9')", 2) end
    local got = engine.decisions { address = address, limit = n or 5 }
    if not got.list[1] then error(nothing(address, got.room, got.oldest_ms), 0) end
    return as_list(rows(got.list))
  end
  -- In words for people; --json gets the whole answer.
  function f.would(q)
    if type(q) ~= "table" then error("would wants a table: would{address='192.0.2.9', listener='http'}", 2) end
    for k in pairs(q) do
      if not callers[k] then error(format("would{…}: %s is no question; help() tells which there are", tostring(k)), 2) end
    end
    local answer = engine.would(q)
    return session.as_json and answer or would.words(answer)
  end
end

return { offer = offer }
