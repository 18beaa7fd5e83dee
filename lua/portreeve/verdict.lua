-- What an admission policy may answer: verdict.allow, or verdict.refuse(reason, because). Anything else fails closed.
local error = error
local _ENV = nil

local reasons = { denied = true, restriction = true, ["per-address"] = true, maximum = true, reserve = true, policy = true }

return {
  allow = "allow",
  -- because: the file and line that decided, or a few words; it goes into the log and `portreeve eval 'refusals()'`.
  refuse = function(reason, because)
    if not reasons[reason] then error("a reason to refuse is denied, restriction, per-address, maximum, reserve or policy", 2) end
    return { refuse = reason, because = because or "" }
  end,
}
