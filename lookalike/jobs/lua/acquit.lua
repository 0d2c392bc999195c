-- names... -> how many of them were suspected
redis.call('ZREM', 'lookalike:suspects:seen', unpack(ARGV))
return redis.call('HDEL', 'lookalike:suspects', unpack(ARGV))
