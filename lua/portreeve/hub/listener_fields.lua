--- One entry of a listener as a field of a form: what kind of field, what is said of it, where its value stands, what is wrong with it. All
-- of it comes from the schema, so an entry that the schema gets is on the pages.
local html = require "portreeve.web.html"
local listening = require "portreeve.hub.listening"
local schema = require "portreeve.schema"
local ipairs, table_concat, tostring = ipairs, table.concat, tostring
local h = html.tag
local _ENV = nil

local function prefix_of(row)
  return row.new and row.name or "l." .. row.name
end

-- Does the line itself, or what it takes from, say something of the entry?
local function set(row, entry)
  return row.given[entry] or row.forced[entry] or row.say[entry] ~= listening.default_text(entry)
end

local function label_of(entry)
  local spec, _, key = schema.of_listener(entry)
  return key and spec.label .. " of " .. key or spec.label
end

local function faults_of(row, entry)
  return (row.faults_at or {})[entry]
end

-- Why there is no field for it here.
local reasons = { ["command line"] = "given on the command line", file = "changed in listeners.ini", tunnel = "a tunnel: changed in "
  .. "listeners.ini" }
local function held_hint(why)
  return h.span { class = "hint block", reasons[why] }
end

local function choice(row, id, entry, words, about)
  local options, known = {}, false
  for i, word in ipairs(words) do
    known = known or word == row.say[entry]
    options[i] = h.option { value = word, selected = word == row.say[entry], word }
  end
  if not known then
    options[#options + 1] = h.option { value = row.say[entry], selected = true, row.say[entry] }
  end
  about[1] = options
  about.id, about.name = id, id
  return h.select(about)
end

local function text_input(row, id, entry, about)
  local kind = schema.of_listener(entry).kind
  about.id, about.name, about.type, about.value = id, id, "text", row.say[entry] or ""
  about.autocomplete, about.autocapitalize, about.spellcheck, about.maxlength = "off", "none", "false", 1024
  if kind == "integer" or kind == "listen" then
    about.class = "port"
    about.inputmode = kind == "integer" and "numeric" or nil
  end
  return h.input(about)
end

local function ticks(row, id, entry, words, about)
  about.class, about.id, about.tabindex = "ticks", id, "-1"
  about[1] = h.legend { class = about.legend, label_of(entry) }
  about.legend = nil
  about[2] = h.input { type = "hidden", name = id, value = "1" }
  about[3] = html.map(words, function(word)
    local box = id .. "." .. word
    return h.label { ["for"] = box, h.input { type = "checkbox", id = box, name = box, value = "on",
      checked = ("," .. row.say[entry] .. ","):find("," .. word .. ",", 1, true) ~= nil }, " ", word }
  end)
  return h.fieldset(about)
end

-- The words a select has: those of the schema, or the names that there are for it.
local function words_of(entry, names)
  return names and names[entry] or schema.of_listener(entry).words
end

local function about(row, entry, described)
  return { ["aria-invalid"] = faults_of(row, entry) and "true" or nil, ["aria-describedby"] = described }
end

-- A cell of the table of all listeners: the column's head says what it is (hidden), or a small label does.
local function cell(row, entry, hidden, over)
  local why, id = listening.held(row, entry), prefix_of(row) .. "." .. entry
  if why then
    return h.div { class = "cell-field", h.span { class = "said-value", row.say[entry] }, why ~= "tunnel" and held_hint(why) or nil }
  end
  local spec, own = schema.of_listener(entry), about(row, entry)
  local words = over and over.words or spec.words
  if spec.kind == "words" then
    own.legend = "unseen"
    return ticks(row, id, entry, words, own)
  end
  return h.div { class = "cell-field", h.label { ["for"] = id, class = hidden and "unseen" or nil, label_of(entry) },
    words and choice(row, id, entry, words, own) or text_input(row, id, entry, own) }
end

-- "0 to 1000000 bits. Default: 32."
local function bounds(entry)
  local spec, default, out = schema.of_listener(entry), listening.default_text(entry), {}
  if spec.kind == "integer" then
    out[1] = ("%d to %d%s."):format(spec.least, spec.most, spec.unit and " " .. spec.unit or "")
  end
  if default ~= "" then
    out[#out + 1] = "Default: " .. default .. "."
  end
  return table_concat(out, " ")
end

-- Where the value stands.
local function place(row, entry)
  local e = row.at[entry]
  if not e then
    return "Not set."
  elseif e.file == "--set" then
    return { h.code("--set"), " ", h.span { class = "entry", e.entry } }
  end
  return { h.code { ("%s:%s"):format(e.file, tostring(e.line)) }, " ", h.span { class = "entry", e.entry } }
end

local function fault_lines(row, entry, id)
  local list = faults_of(row, entry)
  return list and h.div { class = "fault", id = id .. ".fault", role = "alert", html.map(list, function(text) return h.p { text } end) }
end

local function frame(row, entry, id, inner)
  local spec = schema.of_listener(entry)
  local where, e = not row.new and place(row, entry) or nil, row.at[entry]
  local at = id .. ".at"
  return h.div { class = set(row, entry) and "field is-set" or "field", inner, fault_lines(row, entry, id),
    h.p { class = "hint", h.span { id = id .. ".help", spec.help, " ", bounds(entry) },
      where and not e and { " ", h.span { id = at, where } } or nil },
    e and h.p { class = "hint place", id = at, where } or nil }
end

-- A field of the page of one listener. names: { Certificate = names to choose from, … }
local function full(row, entry, names)
  local id = prefix_of(row) .. "." .. entry
  local why, spec = listening.held(row, entry), schema.of_listener(entry)
  if why then
    return frame(row, entry, id, { h.p { class = "name", label_of(entry) },
      h.p { class = "held", h.span { class = "said-value", row.say[entry] ~= "" and row.say[entry] or "–" }, held_hint(why) } })
  end
  local own = about(row, entry, (faults_of(row, entry) and id .. ".fault " or "") .. id .. ".help" .. (row.new and "" or " " .. id
    .. ".at"))
  local words = words_of(entry, names)
  if spec.kind == "words" then
    return frame(row, entry, id, ticks(row, id, entry, words, own))
  end
  return frame(row, entry, id, { h.label { ["for"] = id, label_of(entry) },
    words and choice(row, id, entry, words, own) or text_input(row, id, entry, own) })
end

-- An empty place for an entry with a key.
local function spare(row, entry, k)
  local spec, place_name = listening.keyed[entry], entry .. "-+" .. k
  local id = prefix_of(row) .. "." .. place_name
  local faults = faults_of(row, place_name)
  local function part(tail, label)
    local own = { id = id .. tail, name = id .. tail, type = "text", value = row.say[place_name .. tail] or "",
      autocomplete = "off", autocapitalize = "none", spellcheck = "false", maxlength = 1024, ["aria-invalid"] = faults and "true" or nil,
      ["aria-describedby"] = (faults and id .. ".fault " or "") .. id .. ".help" }
    return h.div { h.label { ["for"] = id .. tail, label }, h.input(own) }
  end
  return h.div { class = "field keyed", h.div { class = "two", part(".Key", spec.keys), part("", spec.label) },
    fault_lines(row, place_name, id), h.p { class = "hint", id = id .. ".help", spec.help } }
end

-- What a further line takes from the first one.
local function above(row, entry)
  local list = row.above[entry] or {}
  if #list == 0 then
    return nil
  end
  return h.ul { class = "hint", html.map(list, function(e)
    return h.li { h.code { e.name, "=", e.text }, " from ", h.code { ("%s:%s"):format(e.at.file, tostring(e.at.line)) } } end) }
end

return { cell = cell, full = full, spare = spare, above = above, set = set, faults_of = faults_of, label_of = label_of,
  prefix_of = prefix_of }
