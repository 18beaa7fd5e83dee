-- Person or machine? Every event gets a class and the reasons for it, and none is dropped: thresholds may be wrong, and then numbers
-- can be counted again. A classifier is the state of one worker: recent recipients, traps that were touched, agents seen. All of it is
-- bounded and forgets by the clock.
local agents = require "portreeve.tracker.agents"
local signals = require("portreeve.token").signals
local pairs = pairs
local _ENV = nil

-- Bits of event.reasons (enum event_reason of src/svc/spool.h).
local BURST, EARLY, PURPOSE, AGENT, NO_AGENT, TRAP, HEAD = 1, 2, 4, 8, 16, 32, 64

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
  local early_ms = set.early_ms
  local recent = fading(set.burst_ms, set.most_recipients)
  local traps = fading(set.trap_ms, set.most_recipients)
  local known, nknown = {}, 0
  local trapping = false -- has a trap ever been touched
  local self = {}

  -- key stands for the agent's text, so that a known one need not become a string.
  local function learn(key, req)
    local class = agents.class_of(req:header("user-agent"))
    if nknown >= set.most_agents then
      known, nknown = {}, 0
    end
    known[key] = class
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
    trapping = true
    traps.put(key_of(tok), now, now)
    traps.put(req.address, now, now)
  end

  -- kind: "open" or "click" (bursts are of clicks). -> class, reasons
  function self.judge(req, tok, kind)
    local reasons, key = signals(req, tok, early_ms)
    local class = key and (known[key] or learn(key, req)) or "unknown"
    if class ~= "human" and class ~= "unknown" then reasons = reasons | AGENT end
    if kind == "click" and burst(tok, req.now) then reasons = reasons | BURST end
    if trapping and trapped(req, tok, req.now) then reasons = reasons | TRAP end
    if reasons & ~NO_AGENT == 0 or reasons & AGENT ~= 0 then return class, reasons end -- an agent's own word names the class
    return reasons & PURPOSE ~= 0 and "prefetch" or "scanner", reasons
  end

  return self
end

return classify
