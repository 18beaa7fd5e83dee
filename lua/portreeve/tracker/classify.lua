-- Person or machine? Every event gets a class and the reasons for it, and none is dropped: thresholds may be wrong, and then numbers
-- can be counted again. A classifier is the state of one worker: recent recipients, traps that were touched, agents seen. All of it is
-- bounded and forgets by the clock.
local agents = require "portreeve.tracker.agents"
local pairs = pairs
local _ENV = nil

-- Bits of event.reasons (enum event_reason of src/svc/spool.h).
local BURST, EARLY, PURPOSE, AGENT, NO_AGENT, TRAP, HEAD = 1, 2, 4, 8, 16, 32, 64
local MINUTE_ZERO_MS = 1577836800000 -- 2020-01-01T00:00Z, as in a token

local classify = {
  BURST = BURST, EARLY = EARLY, PURPOSE = PURPOSE, AGENT = AGENT, NO_AGENT = NO_AGENT, TRAP = TRAP, HEAD = HEAD,
  defaults = {
    early_ms = 5000,       -- nobody reads within this time of sending
    burst_links = 3,       -- so many different links of one recipient …
    burst_ms = 10000,      -- … within this time
    trap_ms = 60000,       -- what touched a trap is a machine for so long
    most_recipients = 4096, -- remembered at once
    most_agents = 512,
  },
}

-- Two tables, the younger filling, the older forgotten as a whole: when it is `ms` old, or when the younger holds `most`.
local function fading(ms, most)
  local young, old, n, since = {}, {}, 0, 0
  local function turn(now)
    if now - since > 2 * ms or now < since then
      young, old, n, since = {}, {}, 0, now
    elseif now - since > ms or n >= most then
      young, old, n, since = {}, young, 0, now
    end
  end
  local self = {}
  function self.get(key, now)
    turn(now)
    return young[key] or old[key]
  end
  function self.put(key, value, now)
    turn(now)
    if young[key] == nil then n = n + 1 end
    young[key] = value
  end
  function self.empty() return since == 0 end
  return self
end

-- One number for a recipient of a campaign. That two meet is possible and harmless.
local function key_of(tok) return (tok.campaign * 0x1E3779B97F4A7C15 ~ tok.recipient) * 2 end

-- settings: any of classify.defaults.
function classify.new(settings)
  local set = {}
  for name, value in pairs(classify.defaults) do
    set[name] = settings and settings[name] or value
  end
  local recent = fading(set.burst_ms, set.most_recipients)
  local traps = fading(set.trap_ms, set.most_recipients)
  local known, nknown = {}, 0
  local self = {}

  local function agent_class(agent)
    local class = known[agent]
    if class then return class end
    class = agents.class_of(agent)
    if nknown >= set.most_agents then
      known, nknown = {}, 0
    end
    known[agent] = class
    nknown = nknown + 1
    return class
  end

  -- Has this recipient followed several different links just now?
  local function burst(tok, now)
    local key, link = key_of(tok), tok.link
    local e = recent.get(key, now)
    if not e or now - e.ms > set.burst_ms then
      recent.put(key, { ms = now, n = 1, [link] = true }, now)
      return false
    end
    if not e[link] and e.n < set.burst_links then
      e[link] = true
      e.n = e.n + 1
    end
    return e.n >= set.burst_links
  end

  local function trapped(req, tok, now)
    local at = traps.get(key_of(tok), now) or traps.get(req.address, now)
    return at and now - at <= set.trap_ms
  end

  function self.trap(req, tok)
    local now = req.now
    traps.put(key_of(tok), now, now)
    traps.put(req.address, now, now)
  end

  local function prefetching(req)
    return req:header("sec-purpose", "purpose", "x-purpose", "x-moz") ~= nil
  end

  -- kind: "open" or "click" (bursts are of clicks). -> class, reasons
  function self.judge(req, tok, kind)
    local now, reasons = req.now, 0
    local agent = req:header("user-agent")
    local class = agent and agent ~= "" and agent_class(agent) or "unknown"
    if not agent or agent == "" then
      reasons = NO_AGENT
    elseif class ~= "human" and class ~= "unknown" then
      reasons = AGENT
    end
    local machine = class == "human" or class == "unknown" -- may a weaker sign still decide?
    if prefetching(req) then
      reasons = reasons | PURPOSE
      if machine then class, machine = "prefetch", false end
    end
    if req.method == "HEAD" then
      reasons = reasons | HEAD
      if machine then class, machine = "scanner", false end
    end
    if now - (tok.minute * 60000 + MINUTE_ZERO_MS) < set.early_ms then
      reasons = reasons | EARLY
      if machine then class, machine = "scanner", false end
    end
    if kind == "click" and burst(tok, now) then
      reasons = reasons | BURST
      if machine then class, machine = "scanner", false end
    end
    if not traps.empty() and trapped(req, tok, now) then
      reasons = reasons | TRAP
      if machine then class = "scanner" end
    end
    return class, reasons
  end

  return self
end

return classify
