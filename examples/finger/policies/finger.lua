-- Finger (RFC 1288) as an example of a protocol that is written in Lua alone: it tells people how this server does.
--   finger @HOST                 all of it, in a few lines
--   finger NAME@HOST             one listener
-- Called for each line: what to answer, and nil for the end of the connection (see README.md). A function from facts to a value like every
-- policy, so finger_test.lua proves it with no server running.
local ipairs, tostring = ipairs, tostring
local concat, format = table.concat, string.format
local _ENV = nil

local END = "\r\n"

local function times(n, one, many)
  return n == 1 and "1 " .. one or n .. " " .. many
end

-- 93784000 ms -> "1 day 2:03"
local function since(ms)
  local minutes = ms // 60000
  local days, hours = minutes // 1440, minutes // 60 % 24
  return (days > 0 and times(days, "day", "days") .. " " or "") .. format("%d:%02d", hours, minutes % 60)
end

local function place(l)
  return (l.address:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(l.address, l.port)
end

local function listener_line(l)
  local state = l.waiting and "waits for its address" or times(l.active, "connection", "connections")
  return format("%-16s %-24s %-8s %-20s %s", l.name, place(l), l.scheme, l.services, state)
end

local function overview(s)
  local out = { format("Portreeve %s, up %s, generation %d, %s.", s.version, since(s.now - s.since), s.generation,
    times(s.sockets, "socket", "sockets")) }
  for _, l in ipairs(s.listeners) do
    out[#out + 1] = listener_line(l)
  end
  if s.sockets > #s.listeners then out[#out + 1] = format("... and %d more", s.sockets - #s.listeners) end
  return out
end

local function one(s, name)
  local out = {}
  for _, l in ipairs(s.listeners) do
    if l.name == name then out[#out + 1] = listener_line(l) end
  end
  return out[1] and out or { "There is no listener of that name." }
end

return function(_, line, _, server)
  local name = line:gsub("^%s*/[Ww]%s*", ""):match("^%s*(.-)%s*$") -- /W asks for more words; there are none
  if name:find("@", 1, true) then return "This server asks no other one for you." .. END end
  if #name > 64 or name:find("[^%w_.-]") then return "A listener's name has letters, digits, _ . and - only." .. END end
  local s = server()
  return concat(name == "" and overview(s) or one(s, tostring(name)), END) .. END
end
