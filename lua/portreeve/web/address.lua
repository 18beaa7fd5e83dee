--- What the pages need to know of a peer address (text as the engine writes it).
local table_concat, tonumber = table.concat, tonumber
local _ENV = nil

local function is_loopback(text)
  return text == "::1" or text:match("^127%.%d+%.%d+%.%d+$") ~= nil
end

-- The first 64 bits of an IPv6 address: whoever has one address has the rest of its /64 as well.
local function prefix64(text)
  local head = text:gsub("%%.*$", "")
  local groups, before = {}, head:match("^(.-)::") or head
  for g in before:gmatch("%x+") do
    groups[#groups + 1] = ("%x"):format(tonumber(g, 16))
  end
  local _, after = head:match("^(.-)::(.*)$")
  local behind = 0
  for _ in (after or ""):gmatch("%x+") do
    behind = behind + 1
  end
  while #groups + behind < 8 and after do
    groups[#groups + 1] = "0"
  end
  return table_concat(groups, ":", 1, #groups < 4 and #groups or 4) .. "::/64"
end

-- What login attempts are counted by: an IPv4 address, an IPv6 /64.
local function throttle_key(text)
  if text:find(":", 1, true) and text ~= "::1" then
    return prefix64(text)
  end
  return text
end

return { is_loopback = is_loopback, throttle_key = throttle_key }
