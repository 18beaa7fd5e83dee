--- The page of one listener: every entry that it can have, in the schema's groups. What is rarely needed is folded away until something of
-- it is set or wrong.
local html = require "portreeve.web.html"
local fields = require "portreeve.hub.listener_fields"
local listener_form = require "portreeve.hub.listener_form"
local listening = require "portreeve.hub.listening"
local schema = require "portreeve.schema"
local ipairs, pairs, table_concat = ipairs, pairs, table.concat
local h = html.tag
local _ENV = nil

-- Entries of a group that this line can have: those always shown, those folded away, and { Entry = true } of those with keys.
local function parts(row, group)
  local shown, rare, keys = {}, {}, {}
  for _, entry in ipairs(row.fields) do
    local spec = schema.of_listener(entry)
    if spec.group == group and listening.has(row, entry) then
      local list = spec.rare and rare or shown
      list[#list + 1] = entry
    end
  end
  for _, entry in ipairs(schema.shown) do
    local spec = listening.keyed[entry]
    if spec and spec.group == group and listening.has(row, entry .. "-x") then
      keys[#keys + 1] = entry
    end
  end
  return shown, rare, keys
end

-- Is something there that has to be seen?
local function calls(row, rare, keys)
  local n, wrong = 0, false
  for _, entry in ipairs(rare) do
    n = n + (fields.set(row, entry) and 1 or 0)
    wrong = wrong or fields.faults_of(row, entry) ~= nil
  end
  for _, entry in ipairs(keys) do
    n = n + #(row.above[entry] or {})
    for k = 1, listener_form.SPARE do
      local place = entry .. "-+" .. k
      wrong = wrong or fields.faults_of(row, place) ~= nil or (row.say[place] or "") ~= "" or (row.say[place .. ".Key"] or "") ~= ""
    end
  end
  return n, wrong
end

local function spares(row, keys)
  local out = {}
  for _, entry in ipairs(keys) do
    out[#out + 1] = fields.above(row, entry) or nil
    for k = 1, listening.held(row, entry .. "-x") and 0 or listener_form.SPARE do
      out[#out + 1] = fields.spare(row, entry, k)
    end
  end
  return out
end

local function some_labels(rare, keys)
  local out = {}
  for _, list in ipairs { rare, keys } do
    for _, entry in ipairs(list) do
      local spec, _, key = schema.of_listener(entry)
      out[#out + 1] = not key and (list == rare and spec.label or listening.keyed[entry].label .. "s") or nil
    end
  end
  return table_concat(out, ", ", 1, #out < 3 and #out or 3) .. (#out > 3 and " …" or "")
end

local function folded(row, rare, keys, names)
  if #rare + #keys == 0 then
    return nil
  end
  local n, wrong = calls(row, rare, keys)
  return h.details { class = "more", open = n > 0 or wrong, h.summary { some_labels(rare, keys), n > 0 and (" (%d set)"):format(n) or nil },
    h.div { class = "fields", html.map(rare, function(entry) return fields.full(row, entry, names) end), spares(row, keys) } }
end

local function name_field(row)
  local id, faults = row.name .. ".Name", fields.faults_of(row, "Name")
  return h.div { class = "field", h.label { ["for"] = id, "Name" }, h.input { id = id, name = id, type = "text", value = row.say.Name,
    maxlength = 60, autocomplete = "off", autocapitalize = "none", spellcheck = "false", ["aria-invalid"] = faults and "true" or nil,
    ["aria-describedby"] = (faults and id .. ".fault " or "") .. id .. ".help" },
    faults and h.div { class = "fault", id = id .. ".fault", role = "alert",
      html.map(faults, function(text) return h.p { text } end) } or nil,
    h.p { class = "hint", id = id .. ".help", "May stay empty. That of a listener that is there: this becomes a further socket of it." } }
end

local function group_of(row, group, names)
  local shown, rare, keys = parts(row, group.name)
  local named = row.new and group.name == "address"
  if #shown + #rare + #keys == 0 then
    return nil
  end
  return h.fieldset { class = "group", id = "group-" .. group.name, h.legend { group.title },
    (#shown > 0 or named) and h.div { class = "fields", named and name_field(row) or nil,
      html.map(shown, function(entry) return fields.full(row, entry, names) end) } or nil, folded(row, rare, keys, names) }
end

-- Messages about entries that have no field here.
local function loose(row)
  local seen, out = { Name = row.new and true or nil }, {}
  for _, entry in ipairs(row.fields) do
    seen[entry] = listening.has(row, entry)
  end
  for _, entry in ipairs(schema.shown) do
    for k = 1, listener_form.SPARE do
      seen[entry .. "-+" .. k] = true
    end
  end
  for entry, list in pairs(row.faults_at or {}) do
    for _, text in ipairs(seen[entry] and {} or list) do
      out[#out + 1] = h.p { text }
    end
  end
  return #out > 0 and h.div { class = "note bad", role = "alert", out } or nil
end

-- What is wrong, as links to the fields, in their order.
local function wrong(row)
  local out, prefix = {}, fields.prefix_of(row)
  local function add(entry, label)
    out[#out + 1] = fields.faults_of(row, entry) and h.li { h.a { href = "#" .. prefix .. "." .. entry, label } } or nil
  end
  add("Name", "Name")
  for _, entry in ipairs(row.fields) do
    if listening.changeable(row, entry) then
      add(entry, fields.label_of(entry))
    end
  end
  for _, entry in ipairs(schema.shown) do
    for k = 1, listening.keyed[entry] and listener_form.SPARE or 0 do
      add(entry .. "-+" .. k, "A new " .. listening.keyed[entry].label:lower())
    end
  end
  return #out > 0 and h.ul(out) or nil
end

-- row: with faults_at, what listener_form found; names: { Certificate = { … } }
local function groups(row, names)
  return { loose(row), html.map(schema.groups, function(group) return group_of(row, group, names) end) }
end

return { groups = groups, wrong = wrong }
