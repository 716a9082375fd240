-- Checks which commands of the other scripts the user of Redis may not run. Has no prelude.
-- KEYS  1 the slot
-- ARGV  1 the prefix of all keys
-- Result  {commands (list: those that the user may not run), keys (list: "PREFIX*" if the user may not use these
--       keys)}
--
--   PREFIX:check   written and deleted by this script

local key = ARGV[1] .. ':check'
local missing = {commands = {}, keys = {}}

-- Any other error, such as that of a wrong type, means that the command is permitted.
local function check(name, ...)
  local found = redis.pcall(name, ...)
  local words = type(found) == 'table' and found.err and string.lower(found.err) or ''
  if string.find(words, 'key', 1, true) and string.find(words, 'access', 1, true) then
    missing.keys[1] = ARGV[1] .. '*'
  elseif string.find(words, 'permission', 1, true) or string.find(words, 'run this command', 1, true) then
    missing.commands[#missing.commands + 1] = string.lower(name)
  end
end

check('TIME')
for _, name in ipairs({'EXISTS', 'GET', 'HGETALL', 'HKEYS', 'HLEN', 'HRANDFIELD', 'HVALS', 'INCR', 'PTTL', 'ZCARD'}) do
  check(name, key)
end
for _, name in ipairs({'HDEL', 'HEXISTS', 'HGET', 'HMGET', 'ZRANK', 'ZREM', 'ZSCORE'}) do
  check(name, key, 'x')
end
check('SET', key, '1')
check('SETNX', key, '1')
check('INCRBY', key, 1)
check('DEL', key)
check('HSCAN', key, '0')
check('HSET', key, 'x', 1)
check('HSETNX', key, 'x', 1)
check('HINCRBY', key, 'x', 1)
check('HINCRBYFLOAT', key, 'x', 1)
check('PEXPIRE', key, 1000)
check('DEL', key)
check('ZADD', key, 1, 'x')
check('PEXPIRE', key, 1000)
check('ZCOUNT', key, 0, 1)
check('ZRANGE', key, 0, 0)
check('ZREVRANGE', key, 0, 0)
check('ZRANGEBYSCORE', key, 0, 1)
check('ZREMRANGEBYSCORE', key, 0, 1)
check('DEL', key)
check('SADD', key, 'x')
check('SISMEMBER', key, 'x')
check('DEL', key)
return cmsgpack.pack(missing)
