--- Pages every component has: log in, log out, set up the first account, log in by a one-time link.
local address = require "portreeve.web.address"
local guard = require "portreeve.web.guard"
local html = require "portreeve.web.html"
local layout = require "portreeve.web.layout"
local onetime = require "portreeve.web.onetime"
local places = require "portreeve.web.places"
local sys = require "portreeve.sys"
local utf8_len = utf8.len
local h = html.tag
local _ENV = nil

local PASSWORD_LEAST = 10

local function field(spec)
  local hint = spec.hint and spec.name .. "-hint" or nil
  return h.div { class = "field",
    h.label { ["for"] = spec.name, spec.label },
    h.input { id = spec.name, name = spec.name, type = spec.type or "text", value = spec.value, required = true, autofocus = spec.focus,
      autocomplete = spec.autocomplete, maxlength = spec.most, minlength = spec.least, ["aria-describedby"] = hint,
      autocapitalize = "none", spellcheck = "false" },
    spec.hint and h.p { class = "hint", id = hint, spec.hint } }
end

local function form_page(c, spec)
  return c.page({ title = spec.title, narrow = true, body = h.section { class = "card sheet",
    h.h1 { spec.title }, spec.lead and h.p { class = "lead", spec.lead }, spec.fault and layout.note("bad", h.p { spec.fault }),
    spec.form } }, spec.status, spec.headers)
end

local function next_page(c, given)
  local prefix = c.site.prefix .. "/"
  if given and given:sub(1, #prefix) == prefix and not given:find("[%c\\]") and not given:find("//", 1, true) and #given < 500 then
    return given
  end
  return prefix
end

local function clear_text_page(c)
  return form_page(c, { title = "Log in over HTTPS", status = 403,
    lead = "Passwords are not taken over an unencrypted connection from another machine. Use the https address of this server." })
end

-- Without an account nobody can log in: say what leads on, but never the link itself.
local function no_account_page(c)
  onetime.setup_token(places.keys(c.site.state))
  return form_page(c, { title = "No account yet",
    form = { h.p { "The first administrator account is made through the one-time set-up link that ",
    h.code { "portreeve run" }, " printed. ", h.code { "portreeve login-link" }, " prints one at any time." } } })
end

local function login_page(c, fault, status, headers)
  if not guard.may_log_in(c.req) then
    return clear_text_page(c)
  end
  local count, why = c.accounts:count()
  if not count then
    return c.unavailable(why)
  elseif count == 0 then
    return no_account_page(c)
  end
  local given = c.form or c.query
  return form_page(c, { title = "Log in", fault = fault, status = status, headers = headers,
    form = h.form { method = "post", action = c.site.prefix .. "/login",
      h.input { type = "hidden", name = "next", value = next_page(c, given.next) },
      field { name = "account", label = "Account", autocomplete = "username", most = 64, value = c.form and c.form.account, focus = true },
      field { name = "password", label = "Password", type = "password", autocomplete = "current-password", most = 511 },
      h.button { type = "submit", class = "main", "Log in" } } })
end

local function start_session(c, account, to)
  local token, why = c.accounts:begin_session(account, c.req.address)
  if not token then
    return c.unavailable(why)
  end
  return c.redirect(to, { ["Set-Cookie"] = guard.session_cookie(c.req, token) })
end

local function wait_answer(c, seconds)
  return login_page(c, "Too many attempts. Try again in " .. seconds .. (seconds == 1 and " second." or " seconds."), 429,
    { ["Retry-After"] = ("%d"):format(seconds) })
end

local function login(c)
  if not guard.may_log_in(c.req) then
    return clear_text_page(c)
  end
  local account, password = (c.form.account or ""):sub(1, 64), c.form.password or ""
  local from = address.throttle_key(c.req.address)
  local wait, why = c.accounts:must_wait(account, from)
  if not wait then
    return c.unavailable(why)
  elseif wait > 0 then
    return wait_answer(c, wait)
  end
  local known, fault = c.accounts:find(account)
  if known == nil then
    return c.unavailable(fault)
  end
  local right, busy = sys.verify_password(password, known and known.hash or nil)
  if right == nil then
    return c.unavailable(busy)
  elseif not right then
    c.accounts:count_failure(account, from)
    sys.log("warn", c.site.name, "log-in failed from " .. c.req.address)
    return login_page(c, "That account and password do not match.", 403)
  end
  c.accounts:forget_failures(account, from)
  c.accounts:audit(account, c.req.address, "log in")
  if c.token then
    c.accounts:end_session(c.token)
  end
  return start_session(c, account, next_page(c, c.form.next))
end

local function logout(c)
  local ok, why = c.accounts:end_session(c.token)
  if not ok then
    return c.unavailable(why)
  end
  c.accounts:audit(c.account, c.req.address, "log out")
  return c.redirect(c.site.prefix .. "/login", { ["Set-Cookie"] = guard.session_cookie(c.req, nil) })
end

local function gone_page(c)
  return form_page(c, { title = "This link is no longer valid", status = 403,
    lead = "A one-time link works once and for a limited time. Run portreeve login-link on the server for a new one." })
end

local function setup_page(c, fault, status)
  local given = c.form or c.query
  return form_page(c, { title = "Create the administrator account", fault = fault, status = status,
    lead = "This link works once. Afterwards you log in with this account.",
    form = h.form { method = "post", action = c.site.prefix .. "/setup",
      h.input { type = "hidden", name = "token", value = given.token },
      field { name = "account", label = "Account", autocomplete = "username", most = 64, value = c.form and c.form.account, focus = true,
        hint = "Letters, digits and . _ - @, at most 64." },
      field { name = "password", label = "Password", type = "password", autocomplete = "new-password", least = PASSWORD_LEAST, most = 511,
        hint = "At least " .. PASSWORD_LEAST .. " characters. A few unrelated words make a good one." },
      field { name = "again", label = "Password again", type = "password", autocomplete = "new-password", least = PASSWORD_LEAST,
        most = 511 },
      h.button { type = "submit", class = "main", "Create account" } } })
end

-- Set-up and login links both lead here while there is no account.
local function may_set_up(c, token)
  local keys = places.keys(c.site.state)
  local by_login = address.is_loopback(c.req.address) and onetime.login_valid(keys, token)
  if not by_login and not onetime.setup_valid(keys, token) then
    return false
  end
  local count, why = c.accounts:count()
  if count == nil then
    return nil, why
  end
  return count == 0
end

local function show_setup(c)
  if not guard.may_log_in(c.req) then
    return clear_text_page(c)
  end
  local may, why = may_set_up(c, c.query.token)
  if may == nil then
    return c.unavailable(why)
  end
  return may and setup_page(c) or gone_page(c)
end

local function fault_of(f)
  local account, password = f.account or "", f.password or ""
  if #account > 64 or not account:match("^[%w._@-]+$") then
    return "The account name may hold letters, digits and . _ - @, at most 64 of them."
  elseif (utf8_len(password) or #password) < PASSWORD_LEAST then
    return "The password must have at least " .. PASSWORD_LEAST .. " characters."
  elseif #password > 511 or password:find("\0", 1, true) then
    return "The password may have at most 511 bytes."
  elseif password ~= f.again then
    return "The two passwords differ."
  end
end

local function set_up(c)
  if not guard.may_log_in(c.req) then
    return clear_text_page(c)
  end
  local may, why = may_set_up(c, c.form.token)
  if may == nil then
    return c.unavailable(why)
  elseif not may then
    return gone_page(c)
  end
  local fault = fault_of(c.form)
  if fault then
    return setup_page(c, fault, 422)
  end
  local hash, busy = sys.hash_password(c.form.password)
  if not hash then
    return c.unavailable(busy)
  end
  local made, db_fault = c.accounts:create_first(c.form.account, hash)
  if made == nil then
    return c.unavailable(db_fault)
  elseif not made then
    return gone_page(c)
  end
  local keys = places.keys(c.site.state)
  onetime.spend(keys, "setup.token")
  onetime.spend(keys, "login.token")
  c.accounts:audit(c.form.account, c.req.address, "first account created")
  return c.redirect(c.site.prefix .. "/login?done=account")
end

local function once_page(c, names)
  return form_page(c, { title = "Log in by one-time link", lead = "This link works once, from this machine only.",
    form = h.form { method = "post", action = c.site.prefix .. "/once",
      h.input { type = "hidden", name = "token", value = c.query.token },
      h.div { class = "field", h.label { ["for"] = "account", "Account" },
        h.select { id = "account", name = "account", html.map(names, function(a) return h.option { value = a.name, a.name } end) } },
      h.button { type = "submit", class = "main", "Log in" } } })
end

local function show_once(c)
  if not address.is_loopback(c.req.address) or not onetime.login_valid(places.keys(c.site.state), c.query.token) then
    return gone_page(c)
  end
  local names, why = c.accounts:names()
  if not names then
    return c.unavailable(why)
  end
  return #names == 0 and setup_page(c) or once_page(c, names)
end

local function use_once(c)
  local keys = places.keys(c.site.state)
  if not address.is_loopback(c.req.address) or not onetime.login_valid(keys, c.form.token) then
    return gone_page(c)
  end
  local known, why = c.accounts:find((c.form.account or ""):sub(1, 64))
  if known == nil then
    return c.unavailable(why)
  end
  if not known or not onetime.spend(keys, "login.token") then
    return gone_page(c)
  end
  c.accounts:audit(known.name, c.req.address, "log in", "one-time link")
  sys.log("notice", c.site.name, "log-in by one-time link as " .. known.name)
  return start_session(c, known.name, c.site.prefix .. "/")
end

-- open: reachable without a session.
local routes = {
  { "GET", "/login", login_page, open = true },
  { "POST", "/login", login, open = true },
  { "GET", "/setup", show_setup, open = true },
  { "POST", "/setup", set_up, open = true },
  { "GET", "/once", show_once, open = true },
  { "POST", "/once", use_once, open = true },
  { "POST", "/logout", logout },
}

return { routes = routes }
