--- Which address people and mails are given (M33–M40), out of what is set at three levels. Pure.
--
--   resolve(stored, key, level, name) -> url | nil, from
-- stored: { set = { level = { name = { key = url } } }, group_of = { account = group } }; the default level's name is "".
-- from: { level =, name =, key = }: where the address was found; nil, nil where nobody has said anything.
--
-- The nearer level wins: user, then the user's group, then the default (M34). The recipients' address follows the users' address of the
-- same group or user unless it is set there itself, and the admin's that of the default level (M35). An address that is set stays what it
-- is when its parent changes, also where it equals the parent; cleared, it follows again.
local ipairs = ipairs
local _ENV = nil

local list = {
  { key = "users", label = "LUI Access URL for Users", path = "/lui", service = "ui" },
  { key = "recipients", label = "URL for Recipients, Subscribers and Others", path = "", service = "tracker", follows = "users",
    follows_at = { group = true, user = true } },
  { key = "admin", label = "LUI Access URL for Admin", path = "/lui", service = "ui", follows = "users", follows_at = { default = true },
    only_default = true },
  { key = "hub", label = "HUB Access URL for Admin", path = "/hub", service = "hub", only_default = true },
  { key = "tracking", label = "Default Tracking URL", short = "Tracking URL", path = "", service = "tracker" },
}

local by_key = {}
for _, s in ipairs(list) do
  by_key[s.key] = s
end

-- Set here, at this very level and name.
local function own(stored, key, level, name)
  local names = stored.set[level]
  local found = names and names[level == "default" and "" or name]
  return found and found[key]
end

-- Nearest first: { {level, name} … }
local function chain(stored, level, name)
  local out = {}
  if level == "user" then
    out[1] = { "user", name }
    local group = stored.group_of[name]
    out[2] = group and { "group", group } or nil
  elseif level == "group" then
    out[1] = { "group", name }
  end
  out[#out + 1] = { "default", "" }
  return out
end

-- skip: leave out what is set at this very level, to say what clearing it would give.
local function resolve(stored, key, level, name, skip)
  local setting = by_key[key]
  for i, at in ipairs(chain(stored, level, name or "")) do
    local url = not (skip and i == 1) and own(stored, key, at[1], at[2])
    if url then
      return url, { level = at[1], name = at[2], key = key }
    end
    local parent = setting.follows and setting.follows_at[at[1]] and own(stored, setting.follows, at[1], at[2])
    if parent then
      return parent, { level = at[1], name = at[2], key = setting.follows }
    end
  end
end

-- Settings that a level has.
local function at_level(level)
  local out = {}
  for _, s in ipairs(list) do
    if level == "default" or not s.only_default then
      out[#out + 1] = s
    end
  end
  return out
end

return { list = list, by_key = by_key, own = own, resolve = resolve, at_level = at_level }
