// Vectors and rotations as values, without the types of an engine. Behind Unity's define they convert to Unity's types.

using System;

namespace Tickwire
{
    /// <summary>A vector of two numbers.</summary>
    public readonly struct Vec2 : IEquatable<Vec2>
    {
        public readonly double X;
        public readonly double Y;

        public Vec2(double x, double y)
        {
            X = x;
            Y = y;
        }

        public bool Equals(Vec2 other)
        {
            return X == other.X && Y == other.Y;
        }

        public override bool Equals(object other)
        {
            return other is Vec2 && Equals((Vec2)other);
        }

        public override int GetHashCode()
        {
            return X.GetHashCode() * 31 + Y.GetHashCode();
        }

        public override string ToString()
        {
            return "(" + X + ", " + Y + ")";
        }

#if UNITY_5_3_OR_NEWER
        public static explicit operator UnityEngine.Vector2(Vec2 value)
        {
            return new UnityEngine.Vector2((float)value.X, (float)value.Y);
        }
#endif
    }

    /// <summary>A vector of three numbers.</summary>
    public readonly struct Vec3 : IEquatable<Vec3>
    {
        public readonly double X;
        public readonly double Y;
        public readonly double Z;

        public Vec3(double x, double y, double z)
        {
            X = x;
            Y = y;
            Z = z;
        }

        public bool Equals(Vec3 other)
        {
            return X == other.X && Y == other.Y && Z == other.Z;
        }

        public override bool Equals(object other)
        {
            return other is Vec3 && Equals((Vec3)other);
        }

        public override int GetHashCode()
        {
            return (X.GetHashCode() * 31 + Y.GetHashCode()) * 31 + Z.GetHashCode();
        }

        public override string ToString()
        {
            return "(" + X + ", " + Y + ", " + Z + ")";
        }

#if UNITY_5_3_OR_NEWER
        public static explicit operator UnityEngine.Vector3(Vec3 value)
        {
            return new UnityEngine.Vector3((float)value.X, (float)value.Y, (float)value.Z);
        }
#endif
    }

    /// <summary>A vector of four numbers.</summary>
    public readonly struct Vec4 : IEquatable<Vec4>
    {
        public readonly double X;
        public readonly double Y;
        public readonly double Z;
        public readonly double W;

        public Vec4(double x, double y, double z, double w)
        {
            X = x;
            Y = y;
            Z = z;
            W = w;
        }

        public bool Equals(Vec4 other)
        {
            return X == other.X && Y == other.Y && Z == other.Z && W == other.W;
        }

        public override bool Equals(object other)
        {
            return other is Vec4 && Equals((Vec4)other);
        }

        public override int GetHashCode()
        {
            return ((X.GetHashCode() * 31 + Y.GetHashCode()) * 31 + Z.GetHashCode()) * 31 + W.GetHashCode();
        }

        public override string ToString()
        {
            return "(" + X + ", " + Y + ", " + Z + ", " + W + ")";
        }

#if UNITY_5_3_OR_NEWER
        public static explicit operator UnityEngine.Vector4(Vec4 value)
        {
            return new UnityEngine.Vector4((float)value.X, (float)value.Y, (float)value.Z, (float)value.W);
        }
#endif
    }

    /// <summary>A rotation: a quaternion of length 1.</summary>
    public readonly struct Rotation : IEquatable<Rotation>
    {
        public readonly double X;
        public readonly double Y;
        public readonly double Z;
        public readonly double W;

        public Rotation(double x, double y, double z, double w)
        {
            X = x;
            Y = y;
            Z = z;
            W = w;
        }

        public bool Equals(Rotation other)
        {
            return X == other.X && Y == other.Y && Z == other.Z && W == other.W;
        }

        public override bool Equals(object other)
        {
            return other is Rotation && Equals((Rotation)other);
        }

        public override int GetHashCode()
        {
            return ((X.GetHashCode() * 31 + Y.GetHashCode()) * 31 + Z.GetHashCode()) * 31 + W.GetHashCode();
        }

        public override string ToString()
        {
            return "(" + X + ", " + Y + ", " + Z + ", " + W + ")";
        }

#if UNITY_5_3_OR_NEWER
        public static explicit operator UnityEngine.Quaternion(Rotation value)
        {
            return new UnityEngine.Quaternion((float)value.X, (float)value.Y, (float)value.Z, (float)value.W);
        }
#endif
    }
}
